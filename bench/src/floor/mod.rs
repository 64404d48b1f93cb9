//! The least that a proxy can cost: relays that make the kernel's calls that none can leave out, in
//! as large batches as there are, and do nothing else. No rules, no limits, nothing counted, no
//! timeouts, one client's host; what they take is what the machine takes from everybody.

mod batch;
mod tcp;
mod udp;

/// `bench floor tcp` and `bench floor udp`.
pub fn run(words: &[String]) -> Result<(), String> {
    match words.split_first() {
        Some((kind, rest)) if kind == "tcp" => tcp::run(rest),
        Some((kind, rest)) if kind == "udp" => udp::run(rest),
        _ => Err("'floor' wants the kind of relay after it: tcp or udp".into()),
    }
}
