//! The command line, with HAProxy's flags (management.txt section 3).

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// `-f`, in order.
    pub files: Vec<String>,
    /// `-c`.
    pub check: bool,
    /// `-V`.
    pub verbose: bool,
    /// `-q`.
    pub quiet: bool,
    /// `-db`: stay in the foreground, without a master.
    pub foreground: bool,
    /// `-d`: stay in the foreground and say how it waits for events.
    pub debug: bool,
    /// `-D`.
    pub daemon: bool,
    /// `-W` or `-Ws`.
    pub master: bool,
    /// `-Ws`.
    pub notify: bool,
    /// `-dW`.
    pub warnings_fatal: bool,
    /// What the files are read with: `-n`, `-N`, `-dD`, `-dI`, `-dR`, `-dS`, `-dV`, `-dr`.
    pub flags: config::Flags,
    /// `-m`: megabytes of memory that connections may take.
    pub megabytes: Option<u64>,
    /// `-dL`: print the files whose code is in memory.
    pub objects: bool,
    /// Flags about what only HAProxy has inside.
    pub idle: Vec<String>,
    /// `-S`: where the master listens.
    pub master_socket: Option<String>,
    /// `-x`: the control socket of the process that hands its listeners over.
    pub take_from: Option<String>,
    /// `-p`.
    pub pidfile: Option<String>,
    /// `-L`: this machine's name among peers.
    pub peer: Option<String>,
    /// `-C`.
    pub directory: Option<String>,
    /// `-sf`.
    pub finish: Vec<i32>,
    /// `-st`.
    pub terminate: Vec<i32>,
    /// `-cc`.
    pub condition: Option<String>,
    /// `-v`: 1, `-vv`: 2.
    pub version: u8,
    /// `-dK`: the classes of words to print.
    pub keywords: Option<String>,
}

/// Reads the arguments after the program's name.
pub fn parse(args: &[String]) -> Result<Args, String> {
    let mut out = Args::default();
    let mut rest = args.iter().peekable();
    while let Some(arg) = rest.next() {
        let mut value = |what: &str| {
            rest.next()
                .cloned()
                .ok_or_else(|| format!("'{arg}' wants {what} after it"))
        };
        match arg.as_str() {
            "-f" => {
                let first = value("a file")?;
                out.files.push(first);
                // Further names up to the next flag belong to it, too.
                while let Some(more) = rest.next_if(|a| !a.starts_with('-')) {
                    out.files.push(more.clone());
                }
            }
            "--" => out.files.extend(rest.by_ref().cloned()),
            "-c" => out.check = true,
            "-V" => out.verbose = true,
            "-q" => out.quiet = true,
            "-d" => out.debug = true,
            "-db" => out.foreground = true,
            "-D" => out.daemon = true,
            "-W" => out.master = true,
            "-Ws" => (out.master, out.notify) = (true, true),
            "-dW" => out.warnings_fatal = true,
            "-v" => out.version = 1,
            "-vv" => out.version = 2,
            "-n" => out.flags.maxconn = number(arg, value("a number")?)?,
            "-N" => out.flags.frontend_maxconn = number(arg, value("a number")?)?,
            "-m" => out.megabytes = number(arg, value("megabytes")?)?.map(u64::from),
            "-x" => out.take_from = Some(value("a control socket")?),
            "-S" => out.master_socket = Some(value("an address")?),
            "-L" => out.peer = Some(value("a name")?),
            "-p" => out.pidfile = Some(value("a file")?),
            "-C" => out.directory = Some(value("a directory")?),
            "-cc" => out.condition = Some(value("a condition")?),
            "-sf" | "-st" => {
                let pids = if arg == "-sf" {
                    &mut out.finish
                } else {
                    &mut out.terminate
                };
                while let Some(pid) = rest.next_if(|a| !a.starts_with('-')) {
                    let pid = pid
                        .parse()
                        .map_err(|_| format!("'{pid}' after '{arg}' is no process number"))?;
                    pids.push(pid);
                }
            }
            _ if arg.starts_with("-dK") => out.keywords = arg.get(3..).map(str::to_string),
            "-dD" => out.flags.diagnoses = true,
            "-dI" => out.flags.insecure_fork = true,
            "-dL" => out.objects = true,
            "-dR" => out.flags.noreuseport = true,
            "-dS" => out.flags.nosplice = true,
            "-dV" => out.flags.trusts_servers = true,
            "-dr" => out.flags.ignores_unresolved = true,
            _ if IDLE.iter().any(|p| arg.starts_with(p)) => out.idle.push(arg.clone()),
            other => {
                let flags = [
                    "-f", "-c", "-V", "-q", "-db", "-d", "-D", "-W", "-Ws", "-dW", "-v", "-vv",
                    "-n", "-N", "-m", "-p", "-C", "-cc", "-sf", "-st", "-S", "-x", "-L", "-dK",
                    "-dD", "-dI", "-dL", "-dR", "-dS", "-dV", "-dr",
                ];
                return Err(match rules::nearest(other, flags) {
                    Some(near) => format!("unknown argument '{other}': did you mean '{near}'?"),
                    None => format!("unknown argument '{other}'"),
                });
            }
        }
    }
    Ok(out)
}

/// Debugging aids of HAProxy's insides, of which there are none here to turn on or off.
const IDLE: [&str; 9] = [
    "-dM", "-dZ", "-dF", "-dG", "-de", "-dp", "-dk", "-dC", "-dt",
];

/// A limit; 0 is none.
fn number(flag: &str, text: String) -> Result<Option<u32>, String> {
    let n: u32 = text
        .parse()
        .map_err(|_| format!("'{flag} {text}' wants a number"))?;
    Ok((n > 0).then_some(n))
}

/// How the program is used.
pub const USAGE: &str = "\
usage: mulgil -f FILE|DIR [-f …] [-c] [-V] [-q] [-d|-db|-D] [-W|-Ws] [-dW] [-n MAXCONN] [-N MAXCONN]
              [-m MEGABYTES] [-p PIDFILE] [-C DIR] [-L NAME] [-x SOCKET] [-sf PID… | -st PID…] [-S ADDRESS] [-dK[CLASS,…]]
       mulgil -c -f FILE      check a configuration
       mulgil -cc CONDITION   evaluate a condition
       mulgil -v | -vv        show the version
       mulgil doctor -f FILE                the routing rules that a configuration needs
       mulgil explain -f FILE URL…          which rules a request would meet, and why
       mulgil agent [OPTIONS]               tells balancers how much work this machine can take
       mulgil ctl [-s SOCKET] COMMAND…      a command to a running process
       mulgil server-setup dsr|tunnel|dscp --vip ADDRESS [--dscp N] [--undo]
                              a real server for packet mode
       mulgil packet detach   take everything of 'mode packet' out of the kernel
       mulgil demo [--bind ADDRESS] [--load]
                              three web servers, the proxy and its statistics page on this machine
";

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Args, String> {
        parse(
            &line
                .split_whitespace()
                .map(str::to_string)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn flags_are_read_like_haproxys() {
        let args = run("-f a.cfg b.cfg -f c.cfg -db -V -n 20 -sf 1 2 3").expect("valid");
        assert_eq!(args.files, ["a.cfg", "b.cfg", "c.cfg"]);
        assert!(args.foreground && args.verbose);
        assert_eq!((args.flags.maxconn, args.finish), (Some(20), vec![1, 2, 3]));
        assert_eq!(run("-c -- x y").expect("valid").files, ["x", "y"]);
        let args = run("-N 7 -m 300 -n 0 -dS -dR -dV -dr -dI -dD -dL -dM50 -dtx").expect("valid");
        let flags = config::Flags {
            maxconn: None,
            frontend_maxconn: Some(7),
            nosplice: true,
            noreuseport: true,
            insecure_fork: true,
            trusts_servers: true,
            ignores_unresolved: true,
            diagnoses: true,
        };
        assert_eq!((args.flags, args.megabytes), (flags, Some(300)));
        assert!(args.objects);
        assert_eq!(args.idle, ["-dM50", "-dtx"]);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for bad in [
            "-f", "-n x", "-N", "-m x", "-zz", "--fil", "-sf x", "-S", "-x",
        ] {
            assert!(run(bad).is_err(), "{bad}");
        }
    }
}
