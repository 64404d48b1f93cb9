//! Mails about servers (`email-alert`), handed to each mailer over SMTP (RFC 5321).

use crate::worker::Worker;
use model::EmailAlert;
use state::news::Line;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The most bytes of one reply.
const LONGEST_REPLY: u64 = 64 * 1024;

/// Sends a line to all mailers of its proxy. One that cannot be reached in time does not get it.
pub fn send(worker: &Worker, line: &Line) {
    let Some(alert) = line.proxy.backend.as_ref().and_then(|b| b.email.clone()) else {
        return;
    };
    let secs = worker.wall(Instant::now()).secs;
    let date = rules::strftime(b"%a, %d %b %Y %T %z", secs, (0, 1), &rules::Zone::utc(secs));
    let hostname = match &alert.hostname {
        Some(name) => Arc::clone(name),
        None => worker.process.machine.hostname.as_str().into(),
    };
    let message = message(&alert, &String::from_utf8_lossy(&date), &line.text);
    for (_, address) in &alert.mailers.mailers {
        let (alert, hostname, message) =
            (Arc::clone(&alert), Arc::clone(&hostname), message.clone());
        let address = *address;
        tokio::task::spawn_local(async move {
            let told = tell(address, &hostname, &alert, &message);
            // Nobody can be told that a mail was lost, but by mail.
            let _ = tokio::time::timeout(alert.mailers.timeout, told).await;
        });
    }
}

/// The mail with its fields, as it stands between `DATA` and the dot.
fn message(alert: &EmailAlert, date: &str, text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!(
        "From: {}\r\nTo: {}\r\nDate: {date} (UTC)\r\nSubject: [HAProxy Alert] {line}\r\n\r\n{line}\r\n\r\n.\r\n",
        alert.from, alert.to
    )
}

async fn tell(
    address: SocketAddr,
    hostname: &str,
    alert: &EmailAlert,
    message: &str,
) -> io::Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    reply(&mut stream, b'2').await?;
    for (command, wanted) in [
        (format!("HELO {hostname}\r\n"), b'2'),
        (format!("MAIL FROM:<{}>\r\n", alert.from), b'2'),
        (format!("RCPT TO:<{}>\r\n", alert.to), b'2'),
        ("DATA\r\n".into(), b'3'),
        (message.into(), b'2'),
        ("QUIT\r\n".into(), b'2'),
    ] {
        stream.write_all(command.as_bytes()).await?;
        reply(&mut stream, wanted).await?;
    }
    Ok(())
}

/// Reads a reply: lines up to one whose code no dash follows. Its first digit says whether to go on.
async fn reply(stream: &mut BufReader<TcpStream>, wanted: u8) -> io::Result<()> {
    let mut stream = stream.take(LONGEST_REPLY);
    loop {
        let mut line = Vec::new();
        let n = stream.read_until(b'\n', &mut line).await?;
        if n == 0 || line.first() != Some(&wanted) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if line.get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
