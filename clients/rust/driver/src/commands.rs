use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use duebus::{Certificate, Client, ClientOptions, ClientTlsConfig, DispatchOptions, Identity};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lines::{Command, Tls, engines, failures, millis};
use crate::output::{Failed, answer, enum_name};
use crate::subscription::OpenSubscription;
use crate::worker::ScriptedWorker;
use crate::{admin, schedules, subscription, worker};

/// Things that the runner has named.
pub struct Named<T>(Mutex<HashMap<String, T>>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Named<T> {
    pub fn put(&self, name: &str, thing: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), thing);
    }

    pub fn get(&self, name: &str) -> Result<T, Failed> {
        let things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        things.get(name).cloned().ok_or_else(|| Failed::Driver(format!("nothing is called {name}")))
    }

    fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Carries out commands, each in its own task.
#[derive(Default)]
pub struct Driver {
    pub clients: Named<Client>,
    pub workers: Named<Arc<ScriptedWorker>>,
    pub subscriptions: Named<OpenSubscription>,
    pub tasks: TaskTracker,
    /// Ends with the input.
    pub end: CancellationToken,
}

impl Driver {
    pub async fn receive(self: Arc<Self>, line: &str) {
        let command: Command = match serde_json::from_str(line) {
            Ok(command) => command,
            Err(error) => {
                let id = serde_json::from_str::<Value>(line).ok().and_then(|line| line["id"].as_i64());
                return answer(id.unwrap_or_default(), Err(Failed::Driver(error.to_string())));
            }
        };
        // Those that name something new are carried out in order of arrival.
        let in_order = matches!(command.command.as_str(), "connect" | "worker.start");
        let driver = Arc::clone(&self);
        let carried_out = self.tasks.spawn(async move {
            let id = command.id;
            match Box::pin(driver.carry_out(command)).await {
                Ok(None) => {} // it has answered itself
                Ok(Some(result)) => answer(id, Ok(result)),
                Err(error) => answer(id, Err(error)),
            }
        });
        if in_order {
            let _ = carried_out.await;
        }
    }

    async fn carry_out(self: Arc<Self>, command: Command) -> Result<Option<Value>, Failed> {
        match command.command.as_str() {
            "hello" => Ok(Some(json!({"language": "rust", "protocol": 1}))),
            "connect" => self.connect(command).map(Some),
            "close" => self.client(&command).map(|client| {
                client.close();
                Some(json!({}))
            }),
            "dispatch" => dispatch(&self.client(&command)?, command).await.map(Some),
            "ack" | "nack" | "extend" => settle(&self.client(&command)?, command).await.map(Some),
            "stop" => stop(&self.client(&command)?, command).await.map(Some),
            "admin" => admin::call(&self.client(&command)?, command).await.map(Some),
            "is_serving" => is_serving(&self.client(&command)?, command).await.map(Some),
            name if name.starts_with("schedule.") => {
                Box::pin(schedules::call(&self.client(&command)?, command)).await.map(Some)
            }
            "subscribe" => subscription::subscribe(&self, command).await,
            "unsubscribe" => self.subscriptions.get(&command.subscription)?.end().await.map(Some),
            "worker.start" => worker::start(&self, command),
            "worker.finish" => self.workers.get(&command.worker)?.finish(command).map(Some),
            "worker.stop" => self.workers.get(&command.worker)?.stop().await.map(Some),
            other => Err(Failed::Driver(format!("no command is called {other}"))),
        }
    }

    /// The client that a command names, with the command's timeout.
    pub fn client(&self, command: &Command) -> Result<Client, Failed> {
        let client = self.clients.get(&command.client)?;
        Ok(millis(command.timeout_ms).map_or(client.clone(), |timeout| client.with_timeout(timeout)))
    }

    fn connect(&self, command: Command) -> Result<Value, Failed> {
        let tls = command.tls.map(tls_config);
        let timeout = millis(command.timeout_ms).unwrap_or(Duration::from_secs(30));
        let mut options = ClientOptions::default().timeout(timeout);
        (options.token, options.tls) = (command.token, tls);
        let client = Client::new(&command.target, options)?;
        self.clients.put(&command.client, client);
        Ok(json!({}))
    }

    /// Closes everything that is open.
    pub async fn close(&self) {
        self.end.cancel();
        for worker in self.workers.all() {
            let _ = worker.stop().await;
        }
        self.clients.all().iter().for_each(Client::close);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn tls_config(tls: Tls) -> ClientTlsConfig {
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(tls.ca));
    match tls.cert.zip(tls.key) {
        Some((cert, key)) => config.identity(Identity::from_pem(cert, key)),
        None => config,
    }
}

async fn dispatch(client: &Client, command: Command) -> Result<Value, Failed> {
    let events =
        command.events.unwrap_or_default().into_iter().map(|each| each.event()).collect::<Result<Vec<_>, _>>()?;
    let topic = command.topic.unwrap_or_default();
    let mut options = DispatchOptions::default().engines(engines(command.engines)?);
    options.request_id = command.request_id;
    options.require_subscriber = command.require_subscriber.unwrap_or_default();
    let dispatched = if events.len() == 1 && options == DispatchOptions::default() {
        let event = events.into_iter().next().unwrap_or_default();
        vec![client.dispatch(&topic, event).await?]
    } else {
        client.dispatch_many(&topic, events, options).await?
    };
    let ids: Vec<_> = dispatched.iter().map(|each| &each.event_id).collect();
    let duplicates: Vec<_> = dispatched.iter().filter(|each| each.duplicate).map(|each| &each.event_id).collect();
    Ok(json!({"event_ids": ids, "duplicate_event_ids": duplicates}))
}

async fn settle(client: &Client, command: Command) -> Result<Value, Failed> {
    let tokens = command.lease_tokens.unwrap_or_default();
    let answered = match command.command.as_str() {
        "ack" => client.ack(tokens).await?,
        "extend" => client.extend(tokens, millis(command.lease_ms)).await?,
        _ => client.nack(command.nacks.unwrap_or_default().into_iter().map(|each| each.nack()).collect()).await?,
    };
    Ok(failures(answered))
}

async fn is_serving(client: &Client, command: Command) -> Result<Value, Failed> {
    Ok(json!({"serving": client.is_serving(&command.service.unwrap_or_default()).await?}))
}

async fn stop(client: &Client, command: Command) -> Result<Value, Failed> {
    let stopped = client.stop(&engines(command.engines)?, millis(command.drain_timeout_ms)).await?;
    let lines = stopped.iter().map(|each| {
        let engine = enum_name(each.engine.as_str_name(), "ENGINE_");
        json!({"engine": engine, "released": each.released, "queued": each.queued})
    });
    Ok(json!({"engines": lines.collect::<Vec<_>>()}))
}
