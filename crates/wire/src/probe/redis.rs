//! Redis: `PING` in RESP (redis.io, "Redis serialization protocol specification").

use super::{Next, Verdict, line};

pub const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

pub fn hear(heard: &[u8], ended: bool) -> Next {
    if heard.starts_with(b"+PONG\r\n") {
        return Verdict::passed(0, "Redis server is ok");
    }
    match ended || heard.contains(&b'\n') {
        true => Verdict::status(0, line(heard)),
        false => Next::More,
    }
}
