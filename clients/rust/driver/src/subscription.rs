use std::sync::Arc;

use duebus::proto::{SubscribeRequest, closing};
use duebus::{Delivery, Frame, Subscription};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::commands::Driver;
use crate::lines::{Command, delivery, engine, millis};
use crate::output::{Failed, answer, enum_name, error_line, write};

/// A stream of the service that is read.
#[derive(Clone)]
pub struct OpenSubscription {
    given_up: CancellationToken,
    ended: CancellationToken,
}

impl OpenSubscription {
    pub async fn end(&self) -> Result<Value, Failed> {
        self.given_up.cancel();
        self.ended.cancelled().await;
        Ok(json!({}))
    }
}

pub async fn subscribe(driver: &Arc<Driver>, command: Command) -> Result<Option<Value>, Failed> {
    let client = driver.client(&command)?;
    let (id, name, within) = (command.id, command.subscription.clone(), millis(command.timeout_ms));
    let opening = client.subscribe(request(command)?);
    let open = async {
        let mut frames = opening.await?;
        let started = frames.next().await.transpose()?;
        Ok::<_, Failed>((frames, started))
    };
    let opened = timeout(within.unwrap_or(std::time::Duration::from_secs(30)), open).await;
    let (frames, started) = match opened {
        Ok(Ok((frames, Some(Frame::Started(started))))) => (frames, started),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(_)) => return Err(tonic::Status::unavailable("the server ended the stream before it started").into()),
        Err(_) => return Err(tonic::Status::deadline_exceeded("the stream did not start in time").into()),
    };
    let opened = OpenSubscription { given_up: driver.end.child_token(), ended: CancellationToken::new() };
    driver.subscriptions.put(&name, opened.clone());
    // The answer must come before the frames.
    let length =
        |each: Option<prost_types::Duration>| each.map_or(0, |d| d.seconds * 1000 + i64::from(d.nanos) / 1_000_000);
    answer(
        id,
        Ok(json!({
            "session_id": started.session_id, "max_in_flight": started.max_in_flight,
            "max_in_flight_bytes": started.max_in_flight_bytes, "lease_ms": length(started.lease),
            "disconnect_grace_ms": length(started.disconnect_grace), "lost_lease_tokens": started.lost_lease_tokens,
            "group": started.group,
        })),
    );
    driver.tasks.spawn(read(name, opened, frames));
    Ok(None)
}

fn request(command: Command) -> Result<SubscribeRequest, Failed> {
    let length = |length| millis(length).and_then(|length| prost_types::Duration::try_from(length).ok());
    Ok(SubscribeRequest {
        topic: command.topic.unwrap_or_default(),
        group: command.group.unwrap_or_default(),
        engine: engine(command.engine.as_deref())?.into(),
        consumer: command.consumer.unwrap_or_default(),
        max_in_flight: command.max_in_flight.unwrap_or_default(),
        max_in_flight_bytes: command.max_in_flight_bytes.unwrap_or_default(),
        lease: length(command.lease_ms),
        disconnect_grace: length(command.disconnect_grace_ms),
        held_lease_tokens: command.held_lease_tokens.unwrap_or_default(),
        ephemeral: command.ephemeral.unwrap_or_default(),
    })
}

async fn read(name: String, opened: OpenSubscription, mut frames: Subscription) {
    let error = loop {
        match opened.given_up.run_until_cancelled(frames.next()).await {
            None | Some(None) => break None,
            Some(Some(Ok(frame))) => write_frame(&name, frame),
            Some(Some(Err(error))) => break Some(error),
        }
    };
    drop(frames);
    write(&json!({"event": "ended", "subscription": name, "error": error.as_ref().map(error_line)}));
    opened.ended.cancel();
}

fn write_frame(name: &str, frame: Frame) {
    match frame {
        Frame::Deliveries(frame) => {
            let lines: Vec<_> = frame.deliveries.into_iter().map(|each| delivery(&Delivery::from(each))).collect();
            write(&json!({"event": "deliveries", "subscription": name, "deliveries": lines}));
        }
        Frame::Heartbeat(frame) => {
            write(&json!({"event": "heartbeat", "subscription": name, "backlog": frame.backlog}));
        }
        Frame::Closing(frame) => {
            let reason = enum_name(closing::Reason::as_str_name(&frame.reason()), "REASON_");
            let after = frame.reconnect_after.unwrap_or_default();
            let after = after.seconds * 1000 + i64::from(after.nanos) / 1_000_000;
            write(&json!({"event": "closing", "subscription": name, "reason": reason, "reconnect_after_ms": after}));
        }
        Frame::Started(_) => {}
    }
}
