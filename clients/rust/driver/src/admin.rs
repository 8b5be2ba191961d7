#[allow(clippy::wildcard_imports, reason = "it has nearly all of them")]
use duebus::proto::*;
use duebus::{Client, Error};
use prost::Message;
use serde_json::{Value, json};
use tokio_stream::{Stream, StreamExt};

use crate::lines::{Command, bytes, text};
use crate::output::Failed;

/// Makes one of the SDK's calls by the name of the service's. A list has only one page.
pub async fn call(client: &Client, command: Command) -> Result<Value, Failed> {
    let request = bytes(command.request.as_deref().unwrap_or_default())?;
    let response = match command.method.as_str() {
        method if method.ends_with("Events") => call_about_events(client, method, &request).await?,
        method => call_about_topics(client, method, &request).await?,
    };
    Ok(json!({"response": text(&response)}))
}

async fn call_about_topics(client: &Client, method: &str, request: &[u8]) -> Result<Vec<u8>, Failed> {
    Ok(match method {
        "ListTopics" => {
            let r: ListTopicsRequest = read(request)?;
            let topics = all(client.admin().on(r.engine()).topics(r.page_size)).await?;
            ListTopicsResponse { topics, ..Default::default() }.encode_to_vec()
        }
        "GetTopic" => {
            let r: GetTopicRequest = read(request)?;
            let topic = Some(client.admin().on(r.engine()).topic(&r.topic).await?);
            GetTopicResponse { topic }.encode_to_vec()
        }
        "ConfigureTopic" => {
            let r: ConfigureTopicRequest = read(request)?;
            let admin = client.admin().on(r.engine());
            let config = Some(admin.configure(&r.topic, &r.group, r.config.unwrap_or_default()).await?);
            ConfigureTopicResponse { config }.encode_to_vec()
        }
        "DeleteTopic" => {
            let r: DeleteTopicRequest = read(request)?;
            let removed = client.admin().on(r.engine()).delete_topic(&r.topic).await?;
            DeleteTopicResponse { removed }.encode_to_vec()
        }
        "DeleteGroup" => {
            let r: DeleteGroupRequest = read(request)?;
            let removed = client.admin().on(r.engine()).delete_group(&r.topic, &r.group).await?;
            DeleteGroupResponse { removed }.encode_to_vec()
        }
        "PauseGroup" => {
            let r: PauseGroupRequest = read(request)?;
            client.admin().on(r.engine()).pause_group(&r.topic, &r.group).await?;
            PauseGroupResponse {}.encode_to_vec()
        }
        "ResumeGroup" => {
            let r: ResumeGroupRequest = read(request)?;
            client.admin().on(r.engine()).resume_group(&r.topic, &r.group).await?;
            ResumeGroupResponse {}.encode_to_vec()
        }
        "GetEvent" => {
            let r: GetEventRequest = read(request)?;
            let event = Some(client.admin().on(r.engine()).event(&r.topic, &r.event_id).await?);
            GetEventResponse { event }.encode_to_vec()
        }
        "ListKeys" => {
            let r: ListKeysRequest = read(request)?;
            let keys = all(client.admin().on(r.engine()).keys(&r.topic, &r.group, r.page_size)).await?;
            ListKeysResponse { keys, ..Default::default() }.encode_to_vec()
        }
        other => return Err(Failed::Driver(format!("no admin call is named {other}"))),
    })
}

async fn call_about_events(client: &Client, method: &str, request: &[u8]) -> Result<Vec<u8>, Failed> {
    let admin = client.admin();
    Ok(match method {
        "ListEvents" => {
            let events = all(admin.events(read(request)?)).await?;
            ListEventsResponse { events, ..Default::default() }.encode_to_vec()
        }
        "CancelEvents" => admin.cancel(read(request)?).await?.encode_to_vec(),
        "RescheduleEvents" => {
            let rescheduled = admin.reschedule(read(request)?).await?;
            RescheduleEventsResponse { rescheduled }.encode_to_vec()
        }
        "RedriveEvents" => RedriveEventsResponse { redriven: admin.redrive(read(request)?).await? }.encode_to_vec(),
        "PurgeEvents" => PurgeEventsResponse { purged: admin.purge(read(request)?).await? }.encode_to_vec(),
        other => return Err(Failed::Driver(format!("no admin call is named {other}"))),
    })
}

async fn all<T>(mut stream: impl Stream<Item = Result<T, Error>> + Unpin) -> Result<Vec<T>, Error> {
    let mut items = Vec::new();
    while let Some(each) = stream.next().await {
        items.push(each?);
    }
    Ok(items)
}

fn read<M: Message + Default>(request: &[u8]) -> Result<M, Failed> {
    M::decode(request).map_err(|error| Failed::Driver(error.to_string()))
}
