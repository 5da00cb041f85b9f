//! What a core dump of another process would hold, read from `/proc` while the process is stopped: every mapping that can be read, its
//! threads' stacks and its heap. (A core has the registers of each thread as well.)

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    os::unix::fs::FileExt,
    process::{Child, Command},
    time::Duration,
};

/// Pieces this long are searched for: half a key that is left over is a leak too.
const PIECE: usize = 16;

/// The memory of a process at one moment.
pub struct Memory(Vec<Mapping>);

struct Mapping {
    name: String,
    from: u64,
    bytes: Vec<u8>,
}

impl Memory {
    /// Stops the process, reads all that it can read itself, and lets it go on.
    pub fn of(child: &Child) -> Self {
        let pid = child.id();
        signal(pid, "STOP");
        while !state(pid).starts_with('T') {
            std::thread::sleep(Duration::from_millis(1));
        }
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let mut mappings = Vec::new();
        for line in maps.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
            let name = fields.nth(3).unwrap_or("anonymous").to_owned();
            // The kernel's own pages are in no core, and cannot be read here.
            if !rights.starts_with('r') || name.starts_with("[v") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let (from, to) = (number(from), number(to));
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            // Past the end of a mapped file there is nothing to read.
            if memory.read_exact_at(&mut bytes, from).is_ok() {
                mappings.push(Mapping { name, from, bytes });
            }
        }
        signal(pid, "CONT");
        Self(mappings)
    }

    /// Bytes that were read.
    pub fn len(&self) -> usize {
        self.0.iter().map(|mapping| mapping.bytes.len()).sum()
    }

    /// Which of `secrets` any piece of 16 bytes is found of, and where.
    pub fn find(&self, secrets: &Secrets) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for mapping in &self.0 {
            for (place, start) in mapping.bytes.windows(2).enumerate() {
                if !secrets.begins[usize::from(u16::from_le_bytes([start[0], start[1]]))] {
                    continue;
                }
                let piece = mapping.bytes.get(place..place + PIECE);
                if let Some(name) = piece.and_then(|piece| secrets.pieces.get(piece)) {
                    let place = format!("{} at {:x} + {place:x}", mapping.name, mapping.from);
                    found.entry(name.clone()).or_default().push(place);
                }
            }
        }
        found
    }
}

/// Bytes to look for, by name.
pub struct Secrets {
    names: BTreeSet<String>,
    pieces: HashMap<Vec<u8>, String>,
    /// By the first two bytes of a piece: most places in memory begin none.
    begins: Vec<bool>,
}

impl Secrets {
    pub fn new() -> Self {
        Self {
            names: BTreeSet::new(),
            pieces: HashMap::new(),
            begins: vec![false; 1 << 16],
        }
    }

    /// Looks for `bytes`, in whole or in part, as they are.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        assert!(bytes.len() >= PIECE, "{name} is too short to be told from chance");
        self.names.insert(name.to_owned());
        let last = &bytes[bytes.len() - PIECE..];
        for piece in bytes.chunks_exact(PIECE).chain([last]) {
            self.begins[usize::from(u16::from_le_bytes([piece[0], piece[1]]))] = true;
            self.pieces.insert(piece.to_vec(), name.to_owned());
        }
    }

    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }
}

fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).unwrap()
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// The state of a process, as the kernel's letter.
fn state(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.to_owned()
}
