use duebus::Client;
use duebus::proto::*;
use prost::Message;
use serde_json::{Value, json};

use crate::lines::{Command, bytes, text};
use crate::output::Failed;

/// Calls a generated stub by the name of its method.
pub async fn call(client: &Client, command: Command) -> Result<Value, Failed> {
    let request = bytes(command.request.as_deref().unwrap_or_default())?;
    let mut admin = client.admin();
    macro_rules! by_name {
        ($($name:literal $method:ident $request:ident,)*) => {
            match command.method.as_str() {
                $($name => admin.$method(read::<$request>(&request)?).await?.into_inner().encode_to_vec(),)*
                other => return Err(Failed::Driver(format!("no admin call is named {other}"))),
            }
        };
    }
    let response = by_name! {
        "ListTopics" list_topics ListTopicsRequest,
        "GetTopic" get_topic GetTopicRequest,
        "ConfigureTopic" configure_topic ConfigureTopicRequest,
        "DeleteTopic" delete_topic DeleteTopicRequest,
        "DeleteGroup" delete_group DeleteGroupRequest,
        "PauseGroup" pause_group PauseGroupRequest,
        "ResumeGroup" resume_group ResumeGroupRequest,
        "ListEvents" list_events ListEventsRequest,
        "GetEvent" get_event GetEventRequest,
        "CancelEvents" cancel_events CancelEventsRequest,
        "RescheduleEvents" reschedule_events RescheduleEventsRequest,
        "RedriveEvents" redrive_events RedriveEventsRequest,
        "PurgeEvents" purge_events PurgeEventsRequest,
        "ListKeys" list_keys ListKeysRequest,
    };
    Ok(json!({"response": text(&response)}))
}

fn read<M: Message + Default>(request: &[u8]) -> Result<M, Failed> {
    M::decode(request).map_err(|error| Failed::Driver(error.to_string()))
}
