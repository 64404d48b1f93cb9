//! Machines as network namespaces: a client with a bridge, and two routers on it.

use std::process::Command;

/// Runs ip(8); what it printed.
pub fn ip(words: &str) -> Result<String, String> {
    let done = Command::new("ip").args(words.split(' ')).output();
    let done = done.map_err(|e| format!("ip does not run: {e}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(format!(
        "ip {words}: {}",
        String::from_utf8_lossy(&done.stderr)
    ))
}

/// Makes the namespaces: the client is 203.0.113.100, the routers are .1 and .2 on their `eth0`.
pub fn link(client: &str, routers: [&str; 2]) -> Result<(), String> {
    ip(&format!("netns add {client}"))?;
    ip(&format!(
        "-n {client} link add br0 type bridge mcast_snooping 0"
    ))?;
    ip(&format!("-n {client} link set br0 up"))?;
    ip(&format!("-n {client} addr add 203.0.113.100/24 dev br0"))?;
    for (n, router) in (1..).zip(routers) {
        ip(&format!("netns add {router}"))?;
        ip(&format!(
            "-n {client} link add p{n} type veth peer name eth0 netns {router}"
        ))?;
        ip(&format!("-n {client} link set p{n} master br0 up"))?;
        ip(&format!("-n {router} link set lo up"))?;
        ip(&format!("-n {router} link set eth0 up"))?;
        ip(&format!("-n {router} addr add 203.0.113.{n}/24 dev eth0"))?;
    }
    Ok(())
}
