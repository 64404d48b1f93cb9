//! The programs and tables in the kernel.

use crate::abi::{
    Flow, FlowKey, GatewayKey, Kept, Lane, Origin, OriginKey, Port, Prefix, PrefixKey, SeatKey,
    Server, Service, ServiceKey, Settings, SourceKey, Station, Traffic, Wanted, feature,
};
use crate::guard;
use aya::maps::{
    Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData, MapError, MapInfo, MapType, PerCpuArray,
};
use aya::programs::{Program, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The programs, built from `bpf/` by `cargo xtask bpf`.
static FORWARD: &[u8] = aya::include_bytes_aligned!("../bpf/forward.bpf.o");
/// The same for where frames have left the driver.
static CLASSIFY: &[u8] = aya::include_bytes_aligned!("../bpf/classify.bpf.o");
/// For what the machine itself sends.
static SENT: &[u8] = aya::include_bytes_aligned!("../bpf/sent.bpf.o");

/// Why something in the kernel did not happen.
#[derive(Debug)]
pub struct Error(pub String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// A sentence with its cause, down to the last one.
pub(crate) fn because(what: impl fmt::Display, error: &dyn std::error::Error) -> Error {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text.push_str(&format!(": {deeper}"));
        cause = deeper.source();
    }
    Error(text)
}

/// How large the tables are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Entries of the session table; a session takes two where answers come back this way.
    pub flows: u32,
    /// What the programs must have, bits of [`crate::abi::feature`].
    pub features: u32,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            flows: 2 << 20,
            features: 0,
        }
    }
}

/// Tables that outlive the process, so that the next one goes on with them.
const KEPT: [&str; 28] = [
    "vips",
    "services",
    "servers",
    "tables",
    "flows",
    "live",
    "traffic",
    "events",
    "settings",
    "macs",
    "prefixes",
    "gateways",
    "fragments",
    "ports",
    "lanes",
    "stations",
    "tags",
    "origins",
    "sources",
    "seats",
    "guards",
    "guard_setup",
    "guard_hosts",
    "guard_chunks",
    "guard_nets",
    "guard_services",
    "guard_counts",
    "splices",
];

/// Tables that the programs of one process share; the next one begins with its own.
const PASSING: [&str; 5] = [
    "news",
    "news_lost",
    "wanted",
    "guard_sources",
    "guard_proven",
];

/// Tables that are as large as the features want: others of them come with other features.
const SIZED: [(&str, u32, u32); 2] = [
    ("guard_sources", feature::LIMITS, 1 << 17),
    ("guard_proven", feature::COOKIES, 1 << 16),
];

/// Loaded programs and their tables.
pub struct Kernel {
    ebpf: Ebpf,
    name: &'static str,
    /// Programs behind drivers, loaded when first needed: for what comes in, and for what goes out.
    classifiers: [Option<Ebpf>; 2],
    sizes: Sizes,
    pins: Option<PathBuf>,
}

macro_rules! table {
    ($name:ident, $kind:ident<$($arg:ty),+>, $doc:literal) => {
        #[doc = $doc]
        pub fn $name(&mut self) -> Result<$kind<&mut MapData, $($arg),+>, Error> {
            let name = stringify!($name);
            let map = self.ebpf.map_mut(name).ok_or_else(|| Error(format!("the program has no table '{name}'")))?;
            $kind::try_from(map).map_err(|e| because(format!("table '{name}'"), &e))
        }
    };
}

impl Kernel {
    /// Loads the balancer's program. With `pins`, a folder of a BPF file system, the tables that are kept there
    /// are taken over, and those that are not are put there.
    pub fn load(sizes: Sizes, pins: Option<&Path>) -> Result<Kernel, Error> {
        Kernel::load_from(FORWARD, "mulgil", sizes, pins)
    }

    /// Loads a program with the balancer's tables from another object, for measurements.
    pub fn load_from(
        object: &[u8],
        name: &'static str,
        sizes: Sizes,
        pins: Option<&Path>,
    ) -> Result<Kernel, Error> {
        if let Some(folder) = pins {
            for name in PASSING {
                // Mostly there is none.
                let _ = std::fs::remove_file(folder.join(name));
            }
            are_ours(object, folder)?;
        }
        Ok(Kernel {
            ebpf: load(object, name, sizes, pins)?,
            name,
            classifiers: [None, None],
            sizes,
            pins: pins.map(Path::to_path_buf),
        })
    }

    /// Loads the balancer's program with other features; all tables are those of before.
    pub fn again(&mut self, features: u32) -> Result<(), Error> {
        let sizes = Sizes {
            features,
            ..self.sizes
        };
        for (name, feature, _) in SIZED {
            if (features ^ self.sizes.features) & feature != 0
                && let Some(folder) = &self.pins
            {
                // Mostly there is none.
                let _ = std::fs::remove_file(folder.join(name));
            }
        }
        self.ebpf = load(FORWARD, "mulgil", sizes, self.pins.as_deref())?;
        self.name = "mulgil";
        self.classifiers = [None, None];
        self.sizes = sizes;
        Ok(())
    }

    /// Loads the program for where frames have left the driver, alone with tables of its own.
    pub fn load_classifier(sizes: Sizes) -> Result<Kernel, Error> {
        Kernel::load_from(CLASSIFY, "mulgil", sizes, None)
    }

    /// The program behind drivers, for what comes in or what goes out, with the tables of the other.
    pub fn classifier(&mut self, out: bool) -> Result<&mut SchedClassifier, Error> {
        let (object, name) = if out {
            (SENT, "sent")
        } else {
            (CLASSIFY, "mulgil")
        };
        let alone = !out && matches!(self.ebpf.program(name), Some(Program::SchedClassifier(_)));
        let [comes, goes] = &mut self.classifiers;
        let place = if out { goes } else { comes };
        let ebpf = match place {
            _ if alone => &mut self.ebpf,
            Some(ebpf) => ebpf,
            None => place.insert(load(object, name, self.sizes, self.pins.as_deref())?),
        };
        let program = ebpf.program_mut(name);
        let program = program.ok_or_else(|| Error("the object has no program".into()))?;
        program
            .try_into()
            .map_err(|e: aya::programs::ProgramError| because("the program", &e))
    }

    table!(vips, HashMap<[u8; 16], u32>, "Virtual addresses: bits of [`crate::abi::vip`].");
    table!(services, HashMap<ServiceKey, Service>, "What is served.");
    table!(servers, Array<Server>, "Where it goes.");
    table!(
        tables,
        ArrayOfMaps<Array<MapData, u32>>,
        "Turns and hash rings: indices of servers."
    );
    table!(flows, HashMap<FlowKey, Flow>, "Sessions.");
    table!(live, Array<u32>, "Connections by server.");
    table!(
        traffic,
        PerCpuArray<Traffic>,
        "What servers' sessions brought."
    );
    table!(
        events,
        PerCpuArray<u64>,
        "What happened, by [`crate::abi::EVENTS`]."
    );
    table!(settings, Array<Settings>, "One entry.");
    table!(prefixes, LpmTrie<PrefixKey, Prefix>, "Services of prefixes.");
    table!(gateways, HashMap<GatewayKey, u32>, "Next hops of transit traffic: indices of servers.");
    table!(macs, HashMap<u32, u64>, "Addresses of our interfaces on their links.");
    table!(ports, HashMap<u32, Port>, "Ports of bridges, and interfaces with VLANs.");
    table!(lanes, HashMap<Lane, u32>, "VLANs that the machine takes part in; at VLAN 0 what a VLAN's own interface is on.");
    table!(stations, HashMap<u64, Station>, "Where those are who talk to the machine.");
    table!(origins, HashMap<OriginKey, Origin>, "Services by their servers, where answers are expected late.");
    table!(sources, HashMap<SourceKey, Kept>, "Servers that clients keep.");
    table!(seats, HashMap<SeatKey, u32>, "Places of servers that clients keep, by frontend.");
    table!(tags, HashMap<[u8; 16], u32>, "VLANs of servers.");

    table!(splices, HashMap<FlowKey, [u8; 16]>, "Sessions whose numbers are translated.");
    table!(
        guard_counts,
        PerCpuArray<guard::abi::Counts>,
        "What guards did, by their index."
    );

    /// The program for drivers, loaded when it is first asked for.
    pub fn program(&mut self) -> Result<&mut Xdp, Error> {
        program(&mut self.ebpf, self.name)
    }

    /// Puts a ring or a list of turns where new sessions look from now on.
    pub fn set_table(&mut self, at: u32, entries: &[u32]) -> Result<(), Error> {
        let failed = |e: MapError| because("a table of servers cannot be made", &e);
        let size = u32::try_from(entries.len()).unwrap_or(u32::MAX).max(1);
        let mut table: Array<MapData, u32> = Array::create(size, INNER_MAP).map_err(failed)?;
        for (i, server) in (0..).zip(entries) {
            table.set(i, server, 0).map_err(failed)?;
        }
        self.tables()?.set(at, &table, 0).map_err(failed)
    }

    table!(wanted, HashMap<Wanted, u32>, "Neighbours that programs lack.");

    /// Takes a table away, for a thread of its own.
    pub(crate) fn take(&mut self, name: &str) -> Option<Map> {
        self.ebpf.take_map(name)
    }

    /// A table that only some object has.
    pub fn map(&mut self, name: &str) -> Option<&mut Map> {
        self.ebpf.map_mut(name)
    }

    /// A table's descriptor.
    pub(crate) fn descriptor(&self, name: &str) -> Result<OwnedFd, Error> {
        let map = self.ebpf.map(name);
        let map = map.ok_or_else(|| Error(format!("the program has no table '{name}'")))?;
        let data = match map {
            Map::Array(data) | Map::HashMap(data) | Map::ArrayOfMaps(data) => data,
            _ => return Err(Error(format!("table '{name}' is of another kind"))),
        };
        let fd = data.fd().as_fd().try_clone_to_owned();
        fd.map_err(|e| because(format!("table '{name}'"), &e))
    }

    /// A counter of events, over all processors.
    pub fn event(&mut self, name: &str) -> u64 {
        let Some(at) = crate::abi::EVENTS.iter().position(|e| *e == name) else {
            return 0;
        };
        let counts = self.events().ok().and_then(|t| t.get(&(at as u32), 0).ok());
        counts.map_or(0, |c| c.iter().sum())
    }
}

/// Refuses tables that are kept in a folder, but are not laid out as this object's: whoever put them there, what
/// would be written to them is not what programs read.
fn are_ours(object: &[u8], folder: &Path) -> Result<(), Error> {
    let kept: Vec<&str> = KEPT
        .into_iter()
        .filter(|name| folder.join(name).exists())
        .collect();
    if kept.is_empty() {
        return Ok(());
    }
    // Tables like ours, which are let go of at the end.
    let mut loader = EbpfLoader::new();
    for name in KEPT.into_iter().chain(PASSING) {
        loader.map_max_entries(name, if name == "news" { RING } else { 1 });
    }
    let ours = loader.load(object);
    let ours = ours.map_err(|e| because("the packet tables cannot be made", &e))?;
    for name in kept {
        let there = MapInfo::from_pin(folder.join(name))
            .and_then(|info| layout(&info))
            .ok();
        let expected = match ours.map(name) {
            Some(
                Map::Array(data)
                | Map::PerCpuArray(data)
                | Map::HashMap(data)
                | Map::LruHashMap(data)
                | Map::LpmTrie(data)
                | Map::ArrayOfMaps(data),
            ) => data.info().and_then(|info| layout(&info)).ok(),
            _ => None,
        };
        if there.is_none() || there != expected {
            return Err(Error(format!(
                "what is kept as the table '{name}' is none of this program's: 'mulgil packet detach' and a start make all tables anew"
            )));
        }
    }
    Ok(())
}

/// The kind of a table, and how many bytes its keys and values have.
fn layout(info: &MapInfo) -> Result<(MapType, u32, u32), MapError> {
    Ok((info.map_type()?, info.key_size(), info.value_size()))
}

/// The least size of a ring, in bytes: a page of whichever machine.
const RING: u32 = 1 << 16;

/// An object with its tables made, and its program loaded if that stands behind drivers.
fn load(object: &[u8], name: &str, sizes: Sizes, pins: Option<&Path>) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("flows", sizes.flows);
    // A quarter of all sessions at most, with two entries each as they have there.
    loader.map_max_entries("splices", (sizes.flows / 4).max(2));
    for (name, feature, size) in SIZED {
        let wanted = sizes.features & feature != 0;
        loader.map_max_entries(name, if wanted { size } else { 1 });
    }
    loader.override_global("features", &sizes.features, false);
    if let Some(folder) = pins {
        for name in KEPT.into_iter().chain(PASSING) {
            loader.map_pin_path(name, folder.join(name));
        }
    }
    let mut ebpf = loader
        .load(object)
        .map_err(|e| because("the packet tables cannot be made", &e))?;
    match ebpf.program_mut(name) {
        Some(Program::SchedClassifier(p)) => p.load(),
        // By who wants it: an interface that takes it in its driver may never come, and its check by
        // the kernel takes seconds.
        Some(Program::Xdp(_)) => Ok(()),
        _ => return Err(Error("the object has no program".into())),
    }
    .map_err(|e| because("the packet program cannot be loaded", &e))?;
    Ok(ebpf)
}

/// `BPF_F_INNER_MAP`: tables of one place may differ in size.
const INNER_MAP: u32 = 1 << 12;

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    let program = ebpf.program_mut(name);
    let program = program.ok_or_else(|| Error("the object has no program".into()))?;
    let program: &mut Xdp = program
        .try_into()
        .map_err(|e: aya::programs::ProgramError| because("the program", &e))?;
    if program.fd().is_err() {
        let loaded = program.load();
        loaded.map_err(|e| because("the packet program cannot be loaded", &e))?;
    }
    Ok(program)
}
