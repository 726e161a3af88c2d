use super::*;

/// What the kernel's machine for these few instructions does with a packet.
fn passes(program: &[Instruction], packet: &[u8], packet_type: u32, device: u32) -> bool {
    let (mut at, mut word) = (0_usize, 0_u32);
    loop {
        let (code, jt, jf, k) = program[at];
        at += 1;
        match code {
            LOAD_WORD if k == PACKET_TYPE => word = packet_type,
            LOAD_WORD if k == DEVICE_TYPE => word = device,
            LOAD_WORD => {
                let Some(octets) = packet.get(k as usize..k as usize + 4) else { return false };
                word = u32::from_be_bytes(octets.try_into().unwrap());
            }
            JUMP_IF_EQUAL => at += usize::from(if word == k { jt } else { jf }),
            _ => return k > 0,
        }
    }
}

#[test]
fn what_comes_in_for_the_addresses_counts_and_nothing_else() {
    const ETHER: u32 = 1;
    let v4 = ["192.0.2.1", "192.0.2.2"].map(|it| it.parse().unwrap());
    let v6 = ["2001:db8::1", "2001:db8::1:1"].map(|it| it.parse().unwrap());
    let (program_v4, program_v6) = (filter_v4(&v4), filter_v6(&v6));
    let packet = |to: &str| match to.parse().unwrap() {
        IpAddr::V4(to) => [&[0x45; 16][..], &to.octets()].concat(),
        IpAddr::V6(to) => [&[0x60; 24][..], &to.octets()].concat(),
    };
    for (to, counts) in [
        ("192.0.2.1", true),
        ("192.0.2.2", true),
        ("192.0.2.3", false),
        ("2001:db8::1", true),
        ("2001:db8::1:1", true),
        ("2001:db8::2", false),
        ("2001:db9::1", false),
    ] {
        let program = if to.contains(':') { &program_v6 } else { &program_v4 };
        assert_eq!(passes(program, &packet(to), PACKET_HOST, ETHER), counts, "{to}");
        for (kind, device) in [(4, ETHER), (3, ETHER), (PACKET_HOST, ARPHRD_LOOPBACK)] {
            assert!(!passes(program, &packet(to), kind, device), "{to} of type {kind}");
        }
    }
    assert!(!passes(&program_v4, &[0x45; 10], PACKET_HOST, ETHER), "too short");
}

#[test]
fn busy_cores_are_all_ticks_but_the_idle_ones() {
    let text = "cpu  10 1 5 80 4 1 2 3 7 0\ncpu0 5 1 2 40 2 1 1 1 0 0\n";
    assert_eq!(cores(text), Some((22, 106)));
    for strange in ["", "cpu", "cpu 1 2 x 4\n", "cpu0 1 2 3 4\n", "cpu 1 2 3\n"] {
        assert_eq!(cores(strange), None, "{strange:?}");
    }
    let mut cores = Cores::default();
    assert_eq!(cores.read().unwrap(), None);
    std::thread::sleep(Duration::from_millis(200));
    let share = cores.read().unwrap().expect("some ticks have passed");
    assert!((0.0..=100.0).contains(&share), "{share}");
}
