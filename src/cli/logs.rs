//! `roadstead logs`: what a workload's components wrote, and what they write from now on.

use std::{process::ExitCode, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use super::{
    asking::{self, AskArguments, AskError, Asking},
    named_workload::NamedWorkload,
    shown::{print, text},
};

/// Time between the end of one answer and the next question of --follow.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a line that a host sends.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Flags of `roadstead logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead logs gateway
  roadstead logs worker -n team-a --tail 20 --follow

The host keeps the last lines of each workload in memory, those that its log level lets through.

Exit codes:
  0  done        1  there is no such workload, or no host answers        2  wrong usage of the command line")]
pub(super) struct LogsArguments {
    #[command(flatten)]
    workload: NamedWorkload,
    /// Go on with what is written from now on.
    #[arg(short, long)]
    follow: bool,
    /// Lines of the past, at most.
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    tail: usize,
    #[command(flatten)]
    ask: AskArguments,
}

/// Runs the command.
pub(super) fn main(arguments: &LogsArguments) -> ExitCode {
    asking::run(follow(arguments))
}

async fn follow(arguments: &LogsArguments) -> Result<(), AskError> {
    let asking = arguments.ask.asking()?;
    let (namespace, name) = arguments.workload.find(&asking).await?;
    let follow = arguments.follow;
    let mut seen = None;
    loop {
        let from = match seen {
            None => format!("tail={}", arguments.tail),
            Some(number) => format!("after={number}"),
        };
        let path = format!("/v1/logs?namespace={namespace}&name={name}&follow={follow}&{from}");
        read(&asking, &path, &mut seen).await?;
        if !follow {
            return Ok(());
        }
        // A host keeps no connection for ever.
        tokio::time::sleep(FOLLOW_PAUSE).await;
        seen = seen.or(Some(0));
    }
}

/// Prints one answer as it comes, and notes the last line's number.
async fn read(asking: &Asking, path: &str, seen: &mut Option<u64>) -> Result<(), AskError> {
    let told = asking.ask(Method::GET, path, Bytes::new()).await?;
    let (place, mut body) = (told.place, told.response.into_body());
    let mut waiting = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // That it breaks off is how a connection ends that was kept for long enough.
        let Ok(frame) = frame else { return Ok(()) };
        let Ok(data) = frame.into_data() else { continue };
        waiting.extend_from_slice(&data);
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            show(&waiting.split_to(end), seen)?;
            waiting.advance(1);
        }
        if waiting.len() > LINE_BYTES_MAX {
            return Err(AskError::Answer { place, why: format!("a line of more than {LINE_BYTES_MAX} bytes") });
        }
    }
    Ok(())
}

fn show(line: &[u8], seen: &mut Option<u64>) -> Result<(), AskError> {
    let Ok(line) = serde_json::from_slice::<Value>(line) else { return Ok(()) };
    if line.get("dropped").is_some() {
        eprintln!("({} lines are not kept any more)", text(&line, "dropped"));
        return Ok(());
    }
    *seen = line.get("number").and_then(Value::as_u64).or(*seen);
    let field = |name| text(&line, name);
    let context = match field("context").as_str() {
        "" | "-" => String::new(),
        context => format!(" {context}:"),
    };
    print(&format!("{} {:<5} {}{context} {}\n", field("time"), field("level"), field("component"), field("message")))
}

#[cfg(test)]
mod tests {
    use super::{super::asking::tests::host_that_says, *};

    #[tokio::test]
    async fn a_line_has_so_many_bytes() {
        for (length, is_read) in [(LINE_BYTES_MAX / 2, true), (LINE_BYTES_MAX * 2, false)] {
            let line = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(length));
            let (asking, _folder) = host_that_says(line.into_bytes());
            assert_eq!(read(&asking, "/", &mut None).await.is_ok(), is_read, "{length}");
        }
    }
}
