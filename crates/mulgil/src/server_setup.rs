//! `mulgil server-setup`: the other side of packet mode.

use model::PacketAttach;
use packet::realserver::{GUE_PORT, Kind, set_up, undo};
use std::net::IpAddr;

const USAGE: &str = "\
usage: mulgil server-setup dsr|tunnel|dscp --vip ADDRESS [--vip ADDRESS]* [--dscp N] [--port N]
                           [--attach auto|xdp|tcx|clsact] [--undo]
       mulgil server-setup dsr --vip ADDRESS [--vip ADDRESS]* --print windows [--undo]
";

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    kind: Kind,
    vips: Vec<IpAddr>,
    attach: PacketAttach,
    undo: bool,
    print: bool,
}

/// Runs it; the exit status.
pub fn main(args: &[String]) -> i32 {
    let wanted = match parse(args) {
        Ok(wanted) => wanted,
        Err(message) => {
            eprint!("error: {message}\n{USAGE}");
            return 1;
        }
    };
    if wanted.print {
        print!("{}", windows(&wanted));
        return 0;
    }
    for vip in &wanted.vips {
        let result = if wanted.undo {
            undo(wanted.kind, *vip, wanted.attach)
        } else {
            set_up(wanted.kind, *vip, wanted.attach)
        };
        if let Err(e) = result {
            eprintln!("error: {e}");
            return 1;
        }
    }
    0
}

fn parse(args: &[String]) -> Result<Wanted, String> {
    let mut args = args.iter();
    let kind = args.next().map_or("", String::as_str);
    let (mut point, mut port) = (None, None);
    let mut wanted = Wanted {
        kind: Kind::Dsr,
        vips: Vec::new(),
        attach: PacketAttach::Auto,
        undo: false,
        print: false,
    };
    while let Some(arg) = args.next() {
        let mut value = |what: &str| {
            args.next()
                .ok_or_else(|| format!("'{arg}' wants {what} after it"))
        };
        match arg.as_str() {
            "--vip" => {
                let text = value("an address")?;
                let vip = text.parse::<IpAddr>();
                let vip = vip.map_err(|_| format!("'{text}' is no address"))?;
                if vip.is_loopback() || vip.is_multicast() || vip.is_unspecified() {
                    return Err(format!(
                        "nobody sends to '{text}' from elsewhere: name the address that clients use"
                    ));
                }
                wanted.vips.push(vip);
            }
            "--dscp" => {
                let text = value("a code point")?;
                let n = text.parse::<u8>().ok().filter(|n| (1..64).contains(n));
                point = Some(n.ok_or_else(|| format!("'{text}' is no code point from 1 to 63"))?);
            }
            "--port" => {
                let text = value("a UDP port")?;
                let n = text.parse::<u16>().ok().filter(|n| *n > 0);
                port = Some(n.ok_or_else(|| format!("'{text}' is no port from 1 to 65535"))?);
            }
            "--attach" => {
                wanted.attach = match value("a place")?.as_str() {
                    "auto" => PacketAttach::Auto,
                    "xdp" => PacketAttach::Xdp,
                    "tcx" => PacketAttach::Tcx,
                    "clsact" => PacketAttach::Clsact,
                    other => {
                        return Err(format!(
                            "'{other}' is no place: use auto, xdp, tcx or clsact"
                        ));
                    }
                }
            }
            "--undo" => wanted.undo = true,
            "--print" => match value("'windows'")?.as_str() {
                "windows" => wanted.print = true,
                other => return Err(format!("no steps for '{other}' are known: use windows")),
            },
            other => return Err(format!("unknown argument '{other}'")),
        }
    }
    if port.is_some() && kind != "tunnel" {
        return Err(format!("'--port' is for 'tunnel', not for '{kind}'"));
    }
    wanted.kind = match (kind, point) {
        ("dsr", None) => Kind::Dsr,
        ("tunnel", None) => Kind::Tunnel(port.unwrap_or(GUE_PORT)),
        ("dscp", Some(point)) => Kind::Dscp(point),
        ("dscp", None) => {
            return Err(
                "'dscp' wants '--dscp N', the number of the balancer's 'forward dscp N'".into(),
            );
        }
        ("dsr" | "tunnel", Some(_)) => {
            return Err(format!("'--dscp' is for 'dscp', not for '{kind}'"));
        }
        ("", _) => return Err("which kind of forwarding is it for: dsr, tunnel or dscp?".into()),
        (other, _) => return Err(format!("unknown kind '{other}': use dsr, tunnel or dscp")),
    };
    if wanted.print && wanted.kind != Kind::Dsr {
        return Err(format!(
            "Windows undoes nothing of '{kind}' by itself: lead it by 'forward dsr' or 'forward nat', or print the steps for 'dsr'"
        ));
    }
    if wanted.vips.is_empty() {
        return Err("'--vip' with the virtual address is missing".into());
    }
    Ok(wanted)
}

/// The steps for a Windows server: the KM-TEST loopback adapter takes the address, which the others do
/// not answer ARP and ND for, and the weak host model lets packets for it in and its answers out.
fn windows(wanted: &Wanted) -> String {
    let mut out = String::from(
        "# As administrator. 'Ethernet' stands for the interface that packets come in by.\n",
    );
    if !wanted.undo {
        out.push_str(
            "# First add the 'Microsoft KM-TEST Loopback Adapter' in the Device Manager (Action, Add legacy\n\
             # hardware, Network adapters), and rename it to 'loopback'.\n",
        );
    }
    for vip in &wanted.vips {
        let line = match (vip, wanted.undo) {
            (IpAddr::V4(_), false) => {
                format!(
                    "netsh interface ipv4 add address \"loopback\" {vip} 255.255.255.255 skipassource=true\n"
                )
            }
            (IpAddr::V6(_), false) => {
                format!(
                    "netsh interface ipv6 add address \"loopback\" {vip}/128 skipassource=true\n"
                )
            }
            (IpAddr::V4(_), true) => {
                format!("netsh interface ipv4 delete address \"loopback\" {vip}\n")
            }
            (IpAddr::V6(_), true) => {
                format!("netsh interface ipv6 delete address \"loopback\" {vip}\n")
            }
        };
        out.push_str(&line);
    }
    let word = if wanted.undo { "disabled" } else { "enabled" };
    for (family, six) in [("ipv4", false), ("ipv6", true)] {
        if wanted.vips.iter().any(|vip| vip.is_ipv6() == six) {
            out.push_str(&format!(
                "netsh interface {family} set interface \"loopback\" weakhostreceive={word} weakhostsend={word}\n\
                 netsh interface {family} set interface \"Ethernet\" weakhostreceive={word}\n"
            ));
        }
    }
    if wanted.undo {
        out.push_str("# Then remove the adapter, if it has no other address.\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Wanted, String> {
        parse(
            &line
                .split_whitespace()
                .map(str::to_string)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn arguments_are_read() {
        let wanted =
            run("dscp --vip 203.0.113.10 --vip 2001:db8::1 --dscp 10 --undo").expect("valid");
        assert_eq!(
            (wanted.kind, wanted.vips.len(), wanted.undo),
            (Kind::Dscp(10), 2, true)
        );
        assert_eq!(run("dsr --vip 192.0.2.1").expect("valid").kind, Kind::Dsr);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for wrong in [
            "",
            "dsr",
            "dsr --vip",
            "dsr --vip x",
            "dsr --vip 127.0.0.1",
            "dsr --vip 224.0.0.18",
            "dsr --vip ::",
            "dscp --vip 192.0.2.1",
            "dscp --vip 192.0.2.1 --dscp 64",
            "ipip --vip 192.0.2.1",
            "dsr --vip 192.0.2.1 --dscp 3",
            "dsr --vip 192.0.2.1 --print mac",
            "tunnel --vip 192.0.2.1 --print windows",
            "dscp --dscp 3 --vip 192.0.2.1 --print windows",
            "tunnel --vip 192.0.2.1 --attach generic",
        ] {
            assert!(run(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn steps_for_windows_are_those_of_each_family_and_can_be_taken_back() {
        let print = |line: &str| windows(&run(line).expect("valid"));
        let four = print("dsr --vip 192.0.2.1 --print windows");
        assert!(four.contains(
            "netsh interface ipv4 add address \"loopback\" 192.0.2.1 255.255.255.255 skipassource=true\n"
        ));
        assert!(four.contains(
            "netsh interface ipv4 set interface \"loopback\" weakhostreceive=enabled weakhostsend=enabled\n"
        ));
        assert!(!four.contains("ipv6"), "{four}");
        let six = print("dsr --vip 2001:db8::1 --print windows");
        assert!(six.contains(
            "netsh interface ipv6 add address \"loopback\" 2001:db8::1/128 skipassource=true\n"
        ));
        assert!(six.contains("ipv6 set interface \"Ethernet\" weakhostreceive=enabled\n"));
        assert!(!six.contains("ipv4"), "{six}");
        let back = print("dsr --vip 192.0.2.1 --vip 2001:db8::1 --print windows --undo");
        for line in [
            "netsh interface ipv4 delete address \"loopback\" 192.0.2.1\n",
            "netsh interface ipv6 delete address \"loopback\" 2001:db8::1\n",
            "netsh interface ipv6 set interface \"Ethernet\" weakhostreceive=disabled\n",
        ] {
            assert!(back.contains(line), "{back}");
        }
    }
}
