//! `mulgil ctl`: commands to a running process, over its control socket.

use crate::args::Args;
use crate::run;
use crate::world::Machine;
use model::Address;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

/// How it is used.
pub const USAGE: &str = "\
usage: mulgil ctl [-s SOCKET | -f FILE] [COMMAND…]
       SOCKET is a path or host:port; without it, the first 'stats socket' of FILE is taken
       (or of /etc/mulgil/mulgil.cfg). Without COMMAND, commands are read from the standard input.
       reload      read the configuration anew, and say what came of it
       help        list all commands
";

/// Runs it; the exit status is 1 when the process could not be reached or a reload failed.
pub fn main(args: &[String]) -> i32 {
    match asked(args).and_then(|(socket, commands)| {
        let answer = talk(&socket, &commands)?;
        print!("{answer}");
        Ok(i32::from(answer.starts_with("Success=0")))
    }) {
        Ok(status) => status,
        Err(message) => {
            eprintln!("error: {message}");
            1
        }
    }
}

/// How `mulgil trace` is used.
const TRACE: &str = "\
usage: mulgil trace --client ADDRESS [-s SOCKET | -f FILE]
       prints what each stage of packet mode decided about this client's sessions
";

/// `mulgil trace`; the exit status is 1 when the process could not be reached.
pub fn trace(args: &[String]) -> i32 {
    let mut client = None;
    let mut others = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match (arg.as_str(), rest.next()) {
            ("--client", Some(value)) => match value.parse::<std::net::IpAddr>() {
                Ok(ip) => client = Some(ip),
                Err(_) => {
                    eprint!("error: '{value}' is no address of a client\n{TRACE}");
                    return 1;
                }
            },
            (_, value) => others.extend([Some(arg), value].into_iter().flatten().cloned()),
        }
    }
    let Some(client) = client else {
        eprint!("error: '--client' with an address is missing\n{TRACE}");
        return 1;
    };
    let words = format!("show flows trace {client}");
    others.extend(words.split(' ').map(str::to_string));
    main(&others)
}

/// The socket and the commands.
fn asked(args: &[String]) -> Result<(String, String), String> {
    let mut socket = None;
    let mut file = "/etc/mulgil/mulgil.cfg".to_string();
    let mut rest = args.iter().peekable();
    while let Some(flag) = rest.next_if(|a| a.starts_with('-')) {
        let value = rest
            .next()
            .ok_or_else(|| format!("'{flag}' wants a value after it\n{USAGE}"))?;
        match flag.as_str() {
            "-s" => socket = Some(value.clone()),
            "-f" => file.clone_from(value),
            _ => return Err(format!("unknown argument '{flag}'\n{USAGE}")),
        }
    }
    let socket = match socket {
        Some(socket) => socket,
        None => configured(&file)?,
    };
    let words: Vec<&str> = rest.map(String::as_str).collect();
    let mut commands = words.join(" ");
    if commands.is_empty() {
        std::io::stdin()
            .read_to_string(&mut commands)
            .map_err(|e| format!("cannot read the standard input: {e}"))?;
    }
    if !commands.ends_with('\n') {
        commands.push('\n');
    }
    Ok((socket, commands))
}

/// The first control socket of a configuration that can be connected to.
fn configured(file: &str) -> Result<String, String> {
    let args = Args {
        files: vec![file.to_string()],
        quiet: true,
        ..Args::default()
    };
    let read = run::load(&args, &Machine, None);
    let Some(config) = read.config else {
        return Err(format!("'{file}' cannot be used: name the socket with -s"));
    };
    let sockets = config.global.stats_sockets.iter();
    let found = sockets.map(|s| &s.address).find_map(|a| match a {
        Address::Unix { path, .. } => Some(path.to_string()),
        Address::Inet { .. } => admin::shown(a).split_once('@').map(|(_, a)| a.to_string()),
        _ => None,
    });
    found.ok_or_else(|| format!("'{file}' has no 'stats socket': name the socket with -s"))
}

fn talk(socket: &str, commands: &str) -> Result<String, String> {
    converse(socket, commands).map_err(|e| {
        format!("no answer from the control socket '{socket}': {e}; see whether mulgil runs and its file has 'stats socket {socket}'")
    })
}

fn converse(socket: &str, commands: &str) -> std::io::Result<String> {
    let mut answer = String::new();
    if !socket.contains('/') && socket.contains(':') {
        let mut stream = TcpStream::connect(socket)?;
        stream.write_all(commands.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        stream.read_to_string(&mut answer)?;
    } else {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(commands.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        stream.read_to_string(&mut answer)?;
    }
    Ok(answer)
}
