use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use duebus::{Delivery, Failure, Worker, WorkerOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::commands::Driver;
use crate::lines::{Command, Outcome, delivery, engine, millis, scope, since_epoch};
use crate::output::{Failed, answer, error_line, write};

/// A worker of the SDK whose handler follows a script.
pub struct ScriptedWorker {
    name: String,
    script: Vec<Outcome>,
    stopping: CancellationToken,
    stopped: CancellationToken,
    /// Ends handlers that hold, by event id.
    holds: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
}

/// The payload of a typed handler.
#[derive(Serialize, Deserialize)]
struct Order {
    number: i64,
    item: String,
}

pub fn start(driver: &Arc<Driver>, mut command: Command) -> Result<Option<Value>, Failed> {
    let client = driver.clients.get(&command.client)?;
    let scripted = Arc::new(ScriptedWorker {
        name: command.worker.clone(),
        script: command.script.take().unwrap_or_default(),
        stopping: driver.end.child_token(),
        stopped: CancellationToken::new(),
        holds: Mutex::default(),
    });
    let handling = Arc::clone(&scripted);
    let (topic, options) = (command.topic.as_deref().unwrap_or_default(), options(&command)?);
    let worker = if command.typed.unwrap_or_default() {
        let handle = move |order: Order, delivery| Arc::clone(&handling).handle(delivery, Some(json!(order)));
        Worker::new(&client).handle_json(topic, options, handle)
    } else {
        Worker::new(&client).handle(topic, options, move |delivery| Arc::clone(&handling).handle(delivery, None))
    };
    driver.workers.put(&command.worker, Arc::clone(&scripted));
    answer(command.id, Ok(json!({}))); // before the events that follow
    driver.tasks.spawn(scripted.run(worker));
    Ok(None)
}

fn options(command: &Command) -> Result<WorkerOptions, Failed> {
    let group = command.group.clone().unwrap_or_default();
    let mut options = WorkerOptions::default().group(group).engine(engine(command.engine.as_deref())?);
    options.ephemeral = command.ephemeral.unwrap_or_default();
    options.consumer = command.consumer.clone().unwrap_or(options.consumer);
    options.max_in_flight = command.max_in_flight.unwrap_or(options.max_in_flight);
    options.concurrency = command.concurrency;
    options.lease = millis(command.lease_ms).unwrap_or(options.lease);
    options.max_execution = millis(command.max_execution_ms).unwrap_or(options.max_execution);
    options.drain_timeout = millis(command.drain_timeout_ms).unwrap_or(options.drain_timeout);
    Ok(options)
}

/// Reports when a handler that holds is cancelled, that is, dropped.
struct SayCancelled<'a>(Option<(&'a str, &'a Delivery)>);

impl Drop for SayCancelled<'_> {
    fn drop(&mut self) {
        if let Some((worker, Delivery { event_id, attempt, .. })) = self.0 {
            write(&json!({"event": "cancelled", "worker": worker, "event_id": event_id, "attempt": attempt}));
        }
    }
}

impl ScriptedWorker {
    async fn run(self: Arc<Self>, worker: Worker) {
        let ready = worker.ready();
        let name = self.name.clone();
        let announce = tokio::spawn(async move {
            if ready.await {
                write(&json!({"event": "ready", "worker": name}));
            }
        });
        let ended = worker.run(self.stopping.cancelled()).await;
        announce.abort();
        write(&json!({"event": "stopped", "worker": self.name, "error": ended.as_ref().err().map(error_line)}));
        self.stopped.cancel();
    }

    async fn handle(self: Arc<Self>, delivered: Delivery, payload: Option<Value>) -> Result<(), Failure> {
        let mut outcome = self.outcome(delivered.attempt);
        let held = outcome.as_ref().is_some_and(|each| each.end == "hold").then(|| self.hold(&delivered.event_id));
        let at = since_epoch(SystemTime::now());
        let delivery = delivery(&delivered);
        write(&json!({
            "event": "handling", "worker": self.name, "at_ms": at, "delivery": delivery, "payload": payload,
        }));
        if let Some(held) = held {
            let mut cancelled = SayCancelled(Some((&self.name, &delivered)));
            outcome = held.await.ok();
            cancelled.0 = None;
        }
        match outcome {
            Some(outcome) if outcome.end == "exit" => exit().await,
            Some(outcome) => end(outcome),
            None => Ok(()),
        }
    }

    /// The script's outcome for this attempt; the last one applies to all later attempts.
    fn outcome(&self, attempt: u32) -> Option<Outcome> {
        let index = (attempt as usize).saturating_sub(1);
        self.script.get(index).or(self.script.last()).cloned()
    }

    fn holds(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Outcome>>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, event_id: &str) -> oneshot::Receiver<Outcome> {
        let (finish, held) = oneshot::channel();
        self.holds().insert(event_id.to_owned(), finish);
        held
    }

    pub fn finish(&self, command: Command) -> Result<Value, Failed> {
        let outcome = command.outcome.ok_or_else(|| Failed::Driver("there is no outcome".to_owned()))?;
        let finish = self.holds().remove(&command.event_id);
        let finished = finish.is_some_and(|finish| finish.send(outcome).is_ok());
        finished.then(|| json!({})).ok_or_else(|| Failed::Driver(format!("nobody holds {}", command.event_id)))
    }

    pub async fn stop(&self) -> Result<Value, Failed> {
        self.stopping.cancel();
        self.stopped.cancelled().await;
        Ok(json!({}))
    }
}

/// Waits for a task that is aborted.
async fn exit() -> Result<(), Failure> {
    let task = tokio::spawn(std::future::pending());
    task.abort();
    Ok(task.await?)
}

#[derive(Debug)]
struct Unprintable;

impl std::error::Error for Unprintable {}

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("the error has no text")
    }
}

fn end(outcome: Outcome) -> Result<(), Failure> {
    let message = outcome.message.unwrap_or_default();
    match outcome.end.as_str() {
        "ack" => Ok(()),
        "fail" => Err(Failure::new(message)),
        "retry_after" => {
            Err(Failure::retry_after(Duration::from_millis(outcome.delay_ms.unwrap_or_default()), message))
        }
        "rate_limited" => {
            let after = Duration::from_millis(outcome.delay_ms.unwrap_or_default());
            Err(Failure::rate_limited(after, scope(outcome.scope.as_deref()), message))
        }
        "dead_letter" => Err(Failure::dead_letter(message)),
        "release" => Err(Failure::release()),
        "unprintable" => Err(Failure::new(Unprintable)),
        _ => panic!("{message}"),
    }
}
