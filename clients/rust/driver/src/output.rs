use std::io::Write;

use duebus::Error;
use serde_json::{Value, json};

/// Why a command failed: an error of the SDK, or one of the driver itself.
pub enum Failed {
    Call(Error),
    Driver(String),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<tonic::Status> for Failed {
    fn from(status: tonic::Status) -> Self {
        Self::Call(status.into())
    }
}

/// Writes one line on standard output.
pub fn write(line: &Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        eprintln!("a line could not be written");
    }
}

pub fn answer(id: i64, result: Result<Value, Failed>) {
    match result {
        Ok(result) => write(&json!({"id": id, "result": result})),
        Err(Failed::Call(error)) => write(&json!({"id": id, "error": error_line(&error)})),
        Err(Failed::Driver(message)) => {
            let error = json!({"reason": "DRIVER_ERROR", "message": message, "field_violations": [], "retry_after_ms": null,
                "metadata": {}, "stored_engines": [], "stored_event_ids": []});
            write(&json!({"id": id, "error": error}));
        }
    }
}

pub fn error_line(error: &Error) -> Value {
    let violations = error.field_violations().iter();
    let violations: Vec<_> =
        violations.map(|each| json!({"field": each.field, "description": each.description})).collect();
    let engines: Vec<_> = error.stored_engines().iter().map(|each| enum_name(each.as_str_name(), "ENGINE_")).collect();
    json!({
        "reason": error.reason().name(), "message": error.message(), "field_violations": violations,
        "retry_after_ms": error.retry_after().map(|after| after.as_millis()), "metadata": error.metadata(),
        "stored_engines": engines, "stored_event_ids": error.stored_event_ids(),
    })
}

/// The name of the proto without its prefix, in lower case.
pub fn enum_name(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}
