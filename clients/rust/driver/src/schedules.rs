//! The commands about schedules.

use std::time::{Duration, SystemTime};

use duebus::{CatchUp, Client, Event, Overlap, PreviewOptions, Rule, Schedule, ScheduleInfo};
use serde_json::{Value, json};
use tokio_stream::StreamExt;

use crate::lines::{Command, engine, millis, moment, since_epoch, text};
use crate::output::Failed;

pub async fn call(client: &Client, mut command: Command) -> Result<Value, Failed> {
    let schedules = client.schedules().on(engine(command.engine.as_deref())?);
    let (verb, name) = (std::mem::take(&mut command.command), std::mem::take(&mut command.name));
    match verb.as_str() {
        "schedule.put" => {
            let topic = command.topic.take().unwrap_or_default();
            Ok(line(&schedules.put(&name, &topic, schedule(command)?).await?))
        }
        "schedule.get" => Ok(line(&schedules.get(&name).await?)),
        "schedule.list" => {
            let mut all = schedules.list(command.page_size.unwrap_or_default());
            let mut names = Vec::new();
            while let Some(each) = all.next().await {
                names.push(each?.name);
            }
            Ok(json!({"names": names}))
        }
        "schedule.delete" => Ok(schedules.delete(&name).await.map(|()| json!({}))?),
        "schedule.pause" => Ok(schedules.pause(&name).await.map(|()| json!({}))?),
        "schedule.resume" => Ok(schedules.resume(&name).await.map(|()| json!({}))?),
        "schedule.trigger" => Ok(json!({"event_id": schedules.trigger(&name, command.request_id.as_deref()).await?})),
        "schedule.backfill" => {
            let (start, end) = (required(command.start_at_ms)?, required(command.end_at_ms)?);
            let ids = schedules.backfill(&name, start, end, command.request_id.as_deref()).await?;
            Ok(json!({"event_ids": ids}))
        }
        "schedule.preview" => {
            let count = command.count.unwrap_or_default();
            let mut options = PreviewOptions::default().count(count);
            options.after = moment(command.after_at_ms);
            let preview = schedules.preview(schedule(command)?, options).await?;
            Ok(json!({"times_at_ms": all_since_epoch(&preview.times), "description": preview.description}))
        }
        other => Err(Failed::Driver(format!("no command is called {other}"))),
    }
}

fn required(since_epoch_ms: Option<u64>) -> Result<SystemTime, Failed> {
    moment(since_epoch_ms).ok_or_else(|| Failed::Driver("a time is missing".to_owned()))
}

fn schedule(command: Command) -> Result<Schedule, Failed> {
    let mut schedule = match (command.cron, command.every_ms) {
        (Some(cron), _) => Schedule::cron(cron),
        (None, every) => Schedule::every(millis(every).unwrap_or_default()),
    };
    schedule.event = command.event.map_or_else(|| Ok(Event::default()), |event| event.event())?;
    schedule.time_zone = command.time_zone.unwrap_or_default();
    schedule.start = moment(command.start_at_ms);
    schedule.end = moment(command.end_at_ms);
    schedule.max_runs = command.max_runs.unwrap_or_default();
    schedule.jitter = millis(command.jitter_ms).unwrap_or_default();
    schedule.overlap = overlap(command.overlap.as_deref())?;
    schedule.catch_up = catch_up(command.catch_up.as_deref())?;
    schedule.catch_up_window = millis(command.catch_up_window_ms);
    schedule.paused = command.paused.unwrap_or_default();
    schedule.note = command.note.unwrap_or_default();
    Ok(schedule)
}

fn overlap(name: Option<&str>) -> Result<Overlap, Failed> {
    match name {
        None | Some("allow") => Ok(Overlap::Allow),
        Some("skip") => Ok(Overlap::Skip),
        Some("buffer_one") => Ok(Overlap::BufferOne),
        Some(other) => Err(Failed::Driver(format!("no overlap is called {other}"))),
    }
}

fn catch_up(name: Option<&str>) -> Result<CatchUp, Failed> {
    match name {
        None | Some("last") => Ok(CatchUp::Last),
        Some("all") => Ok(CatchUp::All),
        Some("none") => Ok(CatchUp::None),
        Some(other) => Err(Failed::Driver(format!("no catch-up is called {other}"))),
    }
}

fn line(info: &ScheduleInfo) -> Value {
    let schedule = &info.schedule;
    let (cron, every) = match &schedule.rule {
        Rule::Cron(expression) => (expression.as_str(), None),
        Rule::Every(interval) => ("", Some(*interval)),
        _ => ("", None),
    };
    let overlap = match schedule.overlap {
        Overlap::Skip => "skip",
        Overlap::BufferOne => "buffer_one",
        _ => "allow",
    };
    let catch_up = match schedule.catch_up {
        CatchUp::All => "all",
        CatchUp::None => "none",
        _ => "last",
    };
    json!({
        "name": info.name, "topic": info.topic, "event": event(&schedule.event), "cron": cron,
        "every_ms": every.as_ref().map(Duration::as_millis), "time_zone": schedule.time_zone,
        "start_at_ms": schedule.start.map(since_epoch), "end_at_ms": schedule.end.map(since_epoch),
        "max_runs": schedule.max_runs, "jitter_ms": schedule.jitter.as_millis(), "overlap": overlap,
        "catch_up": catch_up, "catch_up_window_ms": schedule.catch_up_window.as_ref().map(Duration::as_millis),
        "paused": schedule.paused, "note": schedule.note, "next_at_ms": all_since_epoch(&info.next),
        "last_fired_at_ms": info.last_fired_at.map(since_epoch), "last_event_id": info.last_event_id,
        "runs": info.runs, "skipped": info.skipped, "missed": info.missed, "description": info.description,
    })
}

fn event(event: &Event) -> Value {
    json!({
        "data": text(&event.data), "content_type": event.content_type, "attributes": event.attributes,
        "key": event.key, "max_retries": event.max_retries,
    })
}

fn all_since_epoch(moments: &[SystemTime]) -> Vec<u128> {
    moments.iter().copied().map(since_epoch).collect()
}
