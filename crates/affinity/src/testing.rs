//! What tests and benches of the programs need, and nothing else does.

use std::net::SocketAddr;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions, Xdp};

use crate::config::{Budgets, Config, Key, Mode, Peer, ServiceAddress, SiteId};
use crate::counters::Reason;
use crate::layout;
use crate::load::LoadError;
use crate::model::{Action, Context, Outcome};
use crate::tables::{Tables, tables};

const PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/anycast-test.o"));
const BENCH: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/anycast-bench.o"));

/// A site of five, with both families, two keys and no budgets.
pub fn config() -> Config {
    let site = |id: u8| SiteId::new(id).expect("not 0");
    let peer = |id: u8, v4: bool, v6: bool, alive| Peer {
        id: site(id),
        name: format!("site-{id}"),
        v4: v4.then(|| [198, 51, 100, id].into()),
        v6: v6.then(|| format!("2001:db8:1::{id}").parse().expect("an address")),
        alive,
    };
    Config {
        me: site(3),
        id_bits: 6,
        services: vec![
            ServiceAddress { address: [192, 0, 2, 1].into(), tcp: true, quic: Some(443) },
            ServiceAddress {
                address: "2001:db8::1".parse().expect("an address"),
                tcp: true,
                quic: Some(443),
            },
            ServiceAddress { address: [192, 0, 2, 2].into(), tcp: true, quic: None },
            ServiceAddress { address: [192, 0, 2, 3].into(), tcp: false, quic: Some(8443) },
        ],
        tunnel_v4: Some([198, 51, 100, 3].into()),
        tunnel_v6: Some("2001:db8:1::3".parse().expect("an address")),
        port: crate::DEFAULT_PORT,
        peers: vec![
            peer(1, true, true, true),
            peer(2, false, true, true),
            peer(5, true, false, true),
            peer(9, true, true, false),
        ],
        key: Key {
            epoch: 7,
            secret: std::array::from_fn(|at| u8::try_from(at).expect("32") ^ 0x5a),
        },
        other_key: Some(Key {
            epoch: 6,
            secret: std::array::from_fn(|at| u8::try_from(at).expect("32") ^ 0x17),
        }),
        interfaces: vec!["lo".to_owned()],
        mode: Mode::Auto,
        mtu: 1500,
        budgets: Budgets { source: None, site: None, ring: None, peer: None },
    }
}

/// The same fleet as one of its peers sees it, without those that it has no way to.
///
/// # Panics
///
/// If it is not a peer.
#[must_use]
pub fn seen_by(peer: SiteId, config: &Config) -> Config {
    let mut there = config.clone();
    let peer = there.peers.iter_mut().find(|it| it.id == peer).expect("a peer");
    std::mem::swap(&mut there.me, &mut peer.id);
    std::mem::swap(&mut there.tunnel_v4, &mut peer.v4);
    std::mem::swap(&mut there.tunnel_v6, &mut peer.v6);
    peer.alive = true;
    let ways = there.clone();
    there.peers.retain(|peer| ways.outer_is_v6(peer).is_some());
    there
}

/// The programs in the kernel, run by `BPF_PROG_TEST_RUN` and attached to nothing.
pub struct Programs {
    ebpf: Ebpf,
    counted: Vec<u64>,
    config: Option<layout::Config>,
}

impl Programs {
    /// Loads the programs, with their clock standing still where [`Programs::fill`] puts it.
    ///
    /// # Errors
    ///
    /// As [`crate::Affinity::load`].
    pub fn still() -> Result<Self, LoadError> {
        Self::load(PROGRAMS, &["anycast_xdp"])
    }

    /// Loads the programs with the kernel's clock, and those that [`Programs::time`] runs.
    ///
    /// # Errors
    ///
    /// As [`crate::Affinity::load`].
    pub fn bench() -> Result<Self, LoadError> {
        Self::load(BENCH, &["bench_anycast", "bench_nothing", "bench_copy", "bench_move"])
    }

    fn load(object: &[u8], xdp: &[&str]) -> Result<Self, LoadError> {
        let other = |error: &dyn std::error::Error| LoadError::Refused {
            doing: "loading".to_owned(),
            why: error.to_string(),
        };
        let mut ebpf = Ebpf::load(object).map_err(|error| other(&error))?;
        for name in xdp {
            let xdp: &mut Xdp = ebpf
                .program_mut(name)
                .and_then(|program| program.try_into().ok())
                .expect("it is there");
            xdp.load().map_err(|error| other(&error))?;
        }
        for name in ["anycast_ingress", "anycast_egress"] {
            let tc: &mut SchedClassifier = ebpf
                .program_mut(name)
                .and_then(|program| program.try_into().ok())
                .expect("it is there");
            tc.load().map_err(|error| other(&error))?;
        }
        let mut programs = Self { ebpf, counted: vec![0; layout::REASONS], config: None };
        programs.set("AES", 0, *crate::aes_tables::tables());
        Ok(programs)
    }

    /// Tells them a configuration, and that it is `now` (ns since 1970; the monotonic clock of the
    /// still programs stands at `monotonic`).
    pub fn fill(&mut self, config: &Config, monotonic: u64, now: u64) {
        let Tables { config: mut value, services, peers } =
            tables(config, now.wrapping_sub(monotonic), 0)
                .expect("a configuration that holds together");
        value.test_now = monotonic;
        for (index, peer) in (0..).zip(peers) {
            self.set("PEERS", index, peer);
        }
        self.set("SERVICES", 0, *services);
        self.set("CONFIG", 0, value);
        self.config = Some(value);
    }

    /// Sets the still programs' monotonic clock, after [`Programs::fill`].
    pub fn set_clock(&mut self, monotonic: u64) {
        let mut value = self.config.expect("they were filled");
        value.test_now = monotonic;
        self.set("CONFIG", 0, value);
    }

    fn set<V: aya::Pod>(&mut self, map: &str, index: u32, value: V) {
        let mut array: Array<_, V> =
            self.ebpf.map_mut(map).expect("it is there").try_into().expect("an array");
        array.set(index, value, 0).expect("the kernel takes it");
    }

    /// Runs a packet through one of the hooks for what comes in.
    ///
    /// # Errors
    ///
    /// When the kernel does not run it.
    pub fn ingress(&mut self, context: Context, packet: &[u8]) -> Result<Outcome, ProgramError> {
        let mut out = vec![0; packet.len() + 256];
        let run = self.run(context, "anycast_ingress", packet, Some(&mut out))?;
        let action = match (context, run.0) {
            (Context::Xdp, 2) | (Context::Tc, u32::MAX) => Action::Pass,
            (Context::Xdp, 3 | 4) | (Context::Tc, 7) => Action::Send,
            _ => Action::Drop,
        };
        out.truncate(run.1);
        let octets = if action == Action::Drop { packet.to_vec() } else { out };
        Ok(Outcome { action, octets, reasons: self.reasons() })
    }

    /// Tells them that XDP hangs at an interface, natively or not.
    pub fn hang(&mut self, index: u32, native: bool) {
        let way = if native { layout::WAY_NATIVE } else { layout::WAY_GENERIC };
        self.ways().insert(index, way, 0).expect("the kernel takes it");
    }

    /// Tells them that XDP hangs nowhere.
    pub fn hang_nowhere(&mut self) {
        let mut ways = self.ways();
        let all: Vec<u32> = ways.keys().collect::<Result<_, _>>().expect("the kernel gives them");
        for index in all {
            ways.remove(&index).expect("it is there");
        }
    }

    fn ways(&mut self) -> HashMap<&mut MapData, u32, u32> {
        self.ebpf.map_mut("WAYS").expect("it is there").try_into().expect("a hash map")
    }

    /// Runs a packet through XDP: what it returns (`enum xdp_action`), and the packet then.
    ///
    /// # Errors
    ///
    /// When the kernel does not run it.
    pub fn xdp(&mut self, packet: &[u8]) -> Result<(u32, Vec<u8>), ProgramError> {
        let mut out = vec![0; packet.len() + 256];
        let (verdict, length) = self.run(Context::Xdp, "", packet, Some(&mut out))?;
        out.truncate(length);
        Ok((verdict, out))
    }

    /// Runs a packet through the hook for what leaves.
    ///
    /// # Errors
    ///
    /// When the kernel does not run it.
    pub fn egress(&mut self, packet: &[u8]) -> Result<(Vec<u8>, Vec<Reason>), ProgramError> {
        let mut out = vec![0; packet.len() + 256];
        let run = self.run(Context::Tc, "anycast_egress", packet, Some(&mut out))?;
        out.truncate(run.1);
        Ok((out, self.reasons()))
    }

    /// Nanoseconds of one run of one of the bench's XDP programs, on average of `repeat`, and what the
    /// last run returned.
    ///
    /// # Errors
    ///
    /// When the kernel does not run it.
    pub fn time(
        &self,
        program: &str,
        packet: &[u8],
        repeat: u32,
    ) -> Result<(f64, u32), ProgramError> {
        let program: &Xdp = self
            .ebpf
            .program(program)
            .and_then(|program| program.try_into().ok())
            .expect("it is there");
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = repeat;
        let result = program.test_run(options)?;
        Ok((result.duration.as_secs_f64() * 1e9, result.return_value))
    }

    fn run(
        &self,
        context: Context,
        tc: &str,
        packet: &[u8],
        out: Option<&mut [u8]>,
    ) -> Result<(u32, usize), ProgramError> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = out;
        let result = if context == Context::Xdp {
            let program: &Xdp = self
                .ebpf
                .program("anycast_xdp")
                .and_then(|program| program.try_into().ok())
                .expect("it is there");
            program.test_run(options)?
        } else {
            let program: &SchedClassifier = self
                .ebpf
                .program(tc)
                .and_then(|program| program.try_into().ok())
                .expect("it is there");
            program.test_run(options)?
        };
        let length = usize::try_from(result.data_size_out).expect("a packet");
        Ok((result.return_value, length))
    }

    /// What was counted since the last call.
    fn reasons(&mut self) -> Vec<Reason> {
        let map: PerCpuArray<_, layout::Counters> =
            self.ebpf.map("COUNTERS").expect("it is there").try_into().expect("an array per CPU");
        let each = map.get(&0, 0).expect("the kernel gives it");
        let mut found = Vec::new();
        for (index, reason) in Reason::ALL.iter().enumerate() {
            let now: u64 = each.iter().map(|cpu| cpu.of[index]).sum();
            for _ in self.counted[index]..now {
                found.push(*reason);
            }
            self.counted[index] = now;
        }
        found
    }
}

/// Nobody has a connection.
pub fn no_socket(_: SocketAddr, _: SocketAddr) -> bool {
    false
}
