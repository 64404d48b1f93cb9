//! `mulgil doctor`: what a configuration wants of the machine besides mulgil, as commands that can
//! be read and run. Nothing is changed here.

use crate::args::Args;
use crate::run;
use crate::world::Machine;
use model::{Address, Config, Host, Mode, PortSpec};
use std::collections::BTreeSet;
use std::fmt::Write;

const USAGE: &str = "\
usage: mulgil doctor FILE… | -f FILE [-f FILE]…
       prints the routing rules that 'bind … transparent' and 'source … usesrc' need, and what
       'mode packet' and 'vrrp' sections find on this machine, with what to do about it
";

/// The mark of packets that belong to us though their addresses do not, and the routing table that
/// keeps them here.
const MARK: u32 = 109;

/// Runs it; the exit status is 1 when the configuration cannot be used.
pub fn main(args: &[String]) -> i32 {
    let files: Vec<String> = match args {
        [] => {
            eprint!("{USAGE}");
            return 1;
        }
        args => {
            let mut files = Vec::new();
            let mut rest = args.iter();
            while let Some(arg) = rest.next() {
                match arg.as_str() {
                    file if !file.starts_with('-') => files.push(file.to_string()),
                    "-f" if rest.len() > 0 => files.extend(rest.next().cloned()),
                    _ => {
                        eprintln!("error: '{arg}' is not for doctor\n{USAGE}");
                        return 1;
                    }
                }
            }
            files
        }
    };
    let args = Args {
        files,
        quiet: true,
        ..Args::default()
    };
    match run::load(&args, &Machine, None).config.take() {
        Some(config) => {
            let packets = packet::is_wanted(&config);
            let found = transparency(&config);
            let mut status = pair(&config);
            if (!packets && config.vrrp.is_empty())
                || !found.listens.is_empty()
                || !found.presents.is_empty()
            {
                print!("{}", advice(&config));
            }
            if packets {
                status = status.max(examine(&config));
            }
            status
        }
        None => {
            eprintln!("error: the configuration cannot be used");
            1
        }
    }
}

/// What shared addresses find here; 1 where something is wrong.
fn pair(config: &Config) -> i32 {
    if config.vrrp.is_empty() {
        return 0;
    }
    match failover::doctor::examine(&config.vrrp) {
        Ok(findings) => {
            findings.iter().for_each(|f| println!("{f}"));
            i32::from(findings.iter().any(|f| f.remedy.is_some()))
        }
        Err(e) => {
            eprintln!("error: {e}");
            1
        }
    }
}

/// What packet mode finds here; 1 where something is wrong.
fn examine(config: &Config) -> i32 {
    let findings = match packet::doctor::examine(config) {
        Ok(findings) => findings,
        Err(e) => {
            eprintln!("error: {e}");
            return 1;
        }
    };
    findings.iter().for_each(|f| println!("{f}"));
    let servers = packet::doctor::on_servers(config);
    if !servers.is_empty() {
        println!("# These servers answer clients themselves. As root, on each of them once:");
        servers.iter().for_each(|line| println!("{line}"));
    }
    i32::from(findings.iter().any(|f| f.remedy.is_some()))
}

/// What is transparent in a configuration.
#[derive(Default)]
struct Transparency {
    /// Transport and port of each transparent `bind`.
    listens: BTreeSet<(&'static str, u16)>,
    /// Transports of connections that come from foreign addresses.
    presents: BTreeSet<&'static str>,
    v6: bool,
}

fn transparency(config: &Config) -> Transparency {
    let mut found = Transparency::default();
    for proxy in config.proxies.iter().filter(|p| !p.disabled) {
        let transport = if proxy.mode == Mode::Udp {
            "udp"
        } else {
            "tcp"
        };
        for bind in proxy.frontend.iter().flat_map(|f| &f.binds) {
            let Address::Inet {
                host,
                port: PortSpec::Fixed(port),
                ..
            } = &bind.address
            else {
                continue;
            };
            if bind.options.transparent {
                found.listens.insert((transport, *port));
                found.v6 |=
                    matches!(host, Host::Any6) || matches!(host, Host::Ip(ip) if ip.is_ipv6());
            }
        }
        let Some(side) = &proxy.backend else { continue };
        let foreign = |source: &Option<std::sync::Arc<model::SourceAddress>>| {
            source.as_ref().is_some_and(|s| s.usesrc.is_some())
        };
        for server in &side.servers {
            if foreign(&server.source) || (server.source.is_none() && foreign(&side.source)) {
                found.presents.insert(transport);
                let v6 = matches!(&server.address, Address::Inet { host: Host::Ip(ip), .. } if ip.is_ipv6());
                found.v6 |= v6;
            }
        }
    }
    found
}

fn advice(config: &Config) -> String {
    let found = transparency(config);
    if found.listens.is_empty() && found.presents.is_empty() {
        return "# nothing in this configuration needs routing rules\n".into();
    }
    let mut out = String::from(
        "# Packets for addresses that are not ours are kept on this machine when they are marked.\n",
    );
    let families: &[&str] = if found.v6 { &["-4", "-6"] } else { &["-4"] };
    for family in families {
        let _ = writeln!(out, "ip {family} rule add fwmark {MARK} lookup {MARK}");
        let _ = writeln!(
            out,
            "ip {family} route add local default dev lo table {MARK}"
        );
    }
    out.push_str(
        "# They must arrive at all: this machine is the router of clients and servers.\n\
         sysctl -q -w net.ipv4.ip_forward=1\n",
    );
    out.push_str(
        "nft add table inet mulgil\n\
         nft 'add chain inet mulgil divert { type filter hook prerouting priority mangle; }'\n",
    );
    if !found.presents.is_empty() {
        out.push_str("# Answers of servers to connections that came from clients' addresses.\n");
    }
    for transport in &found.presents {
        let _ = writeln!(
            out,
            "nft add rule inet mulgil divert meta l4proto {transport} socket transparent 1 meta mark set {MARK} accept"
        );
    }
    if !found.listens.is_empty() {
        out.push_str("# Connections to anybody's address at the ports of transparent listeners.\n");
    }
    for (transport, port) in &found.listens {
        let families: &[(&str, &str)] = if found.v6 {
            &[("ipv4", "ip"), ("ipv6", "ip6")]
        } else {
            &[("ipv4", "ip")]
        };
        for (family, ip) in families {
            let _ = writeln!(
                out,
                "nft add rule inet mulgil divert meta nfproto {family} {transport} dport {port} tproxy {ip} to :{port} meta mark set {MARK} accept"
            );
        }
    }
    out
}
