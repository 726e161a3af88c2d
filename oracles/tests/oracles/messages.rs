//! UPDATEs of an external neighbor with four-octet AS numbers, sound at first, then mutated.

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// One attribute, as it stands on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Attribute {
    pub(crate) flags: u8,
    pub(crate) code: u8,
    pub(crate) value: Vec<u8>,
    /// What the length field says, if it lies.
    pub(crate) claims: Option<u16>,
}

/// An UPDATE in parts.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) withdrawn: Vec<u8>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) nlri: Vec<u8>,
    /// What was done to it.
    pub(crate) what: String,
}

fn prefix(random: &mut Random, longest: usize) -> Vec<u8> {
    let len = random.below(longest + 1);
    let mut octets = random.octets(len.div_ceil(8));
    // Unicast, without bits beyond the length: what others make of those is their affair.
    if let Some(first) = octets.first_mut() {
        *first = *first % 100 + 1;
    }
    if let Some(last) = octets.last_mut()
        && !len.is_multiple_of(8)
    {
        *last &= 0xff << (8 - len % 8);
    }
    octets.insert(0, u8::try_from(len).unwrap());
    octets
}

fn prefixes(random: &mut Random, longest: usize, least: usize) -> Vec<u8> {
    let count = least + random.below(4);
    (0..count).flat_map(|_| prefix(random, longest)).collect()
}

fn asn(random: &mut Random) -> [u8; 4] {
    u32::try_from(1 + random.below(if random.0 & 1 == 0 { 65_000 } else { 1 << 31 }))
        .unwrap()
        .to_be_bytes()
}

fn path(random: &mut Random) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 0..random.below(3) {
        let count = 1 + random.below(5);
        value.extend([if random.chance(4) { 1 } else { 2 }, u8::try_from(count).unwrap()]);
        value.extend((0..count).flat_map(|_| asn(random)));
    }
    value
}

fn reach(random: &mut Random) -> Vec<u8> {
    let mut value = vec![0, 2, 1, 16, 0x20, 1, 0x0d, 0xb8];
    value.extend(random.octets(12));
    value.push(0);
    value.extend(prefixes(random, 128, 1));
    value
}

impl Update {
    pub(crate) fn sound(random: &mut Random) -> Self {
        let (v4, v6) = (!random.chance(3), random.chance(3));
        let mut update = Self {
            withdrawn: Vec::new(),
            attributes: Vec::new(),
            nlri: Vec::new(),
            what: "sound".to_owned(),
        };
        if random.chance(3) || !(v4 || v6) {
            update.withdrawn = prefixes(random, 32, 1);
        }
        if v4 || v6 {
            update.add(0x40, 1, vec![u8::try_from(random.below(3)).unwrap()]);
            update.add(0x40, 2, path(random));
            if v4 {
                update.add(0x40, 3, vec![192, 0, 2, 1 + random.octets(1)[0] % 250]);
                update.nlri = prefixes(random, 32, 1);
            }
            if random.chance(2) {
                update.add(0x80, 4, random.octets(4));
            }
            if random.chance(6) {
                update.add(0x40, 6, Vec::new());
            }
            if random.chance(6) {
                update.add(0xc0, 7, [&asn(random)[..], &random.octets(4)].concat());
            }
            for (code, group) in [(8, 4), (16, 8), (32, 12)] {
                if random.chance(4) {
                    let count = 1 + random.below(3);
                    update.add(0xc0, code, random.octets(count * group));
                }
            }
            if v6 {
                update.add(0x80, 14, reach(random));
            }
            if random.chance(12) {
                update.add(0xc0, 35, asn(random).to_vec());
            }
            if random.chance(6) {
                let len = random.below(20);
                update.add(0xc0, 200, random.octets(len));
            }
        }
        if random.chance(6) {
            let mut value = vec![0, 2, 1];
            value.extend(prefixes(random, 128, 1));
            update.add(0x80, 15, value);
        }
        update
    }

    fn add(&mut self, flags: u8, code: u8, value: Vec<u8>) {
        self.attributes.push(Attribute { flags, code, value, claims: None });
    }

    /// One thing goes wrong.
    pub(crate) fn mutate(&mut self, random: &mut Random) {
        let Some(last) = self.attributes.len().checked_sub(1) else { return };
        let at = random.below(last + 1);
        let code = self.attributes[at].code;
        let one = &mut self.attributes[at];
        self.what = match random.below(10) {
            0 => {
                one.flags ^= [0x80, 0x40, 0xc0, 0x20][random.below(4)];
                format!("flags of {code}")
            }
            1 => {
                let len = one.value.len();
                one.value.truncate(len.saturating_sub(1 + random.below(4)));
                format!("{code} is short")
            }
            2 => {
                let more = 1 + random.below(4);
                one.value.extend(random.octets(more));
                format!("{code} is long")
            }
            3 => {
                one.value.clear();
                format!("{code} is empty")
            }
            4 | 5 => {
                if let Some(last) = one.value.len().checked_sub(1) {
                    let octet = random.below(last + 1);
                    one.value[octet] = random.octets(1)[0];
                }
                format!("an octet of {code}")
            }
            6 => {
                let mut twice = one.clone();
                twice.value = random.octets(one.value.len());
                self.attributes.push(twice);
                format!("{code} twice")
            }
            7 => {
                self.attributes.remove(at);
                format!("without {code}")
            }
            8 => {
                let len = u16::try_from(one.value.len()).unwrap();
                one.claims = Some(len + u16::try_from(1 + random.below(300)).unwrap());
                self.attributes.truncate(at + 1);
                format!("{code} beyond the list")
            }
            _ => {
                self.nlri.clear();
                format!("without NLRI, {code}")
            }
        };
    }

    /// Turns every AS_SET of a sound message into an AS_SEQUENCE.
    pub(crate) fn without_as_sets(&mut self) {
        for path in self.attributes.iter_mut().filter(|it| it.code == 2) {
            let mut at = 0;
            while at + 1 < path.value.len() {
                path.value[at] = 2;
                at += 2 + 4 * usize::from(path.value[at + 1]);
            }
        }
    }

    /// Whether `bgpkit-parser` may take prefixes for path identifiers, by a default route among
    /// them. Nothing in the octets tells; what was agreed on counts (RFC 7911 §4), as with us.
    pub(crate) fn may_be_guessed_wrong(&self) -> bool {
        // Behind AFI, SAFI and, of MP_REACH_NLRI, an IPv6 next hop.
        let mp = [(14, 21), (15, 3)].map(|(code, head)| self.value(code)?.get(head..));
        let lists = [Some(&self.withdrawn[..]), Some(&self.nlri[..])];
        lists.into_iter().chain(mp).flatten().any(|list| list.contains(&0))
    }

    pub(crate) fn value(&self, code: u8) -> Option<&[u8]> {
        self.attributes.iter().find(|it| it.code == code).map(|it| &it.value[..])
    }

    pub(crate) fn flags(&self, code: u8) -> Option<u8> {
        self.attributes.iter().find(|it| it.code == code).map(|it| it.flags)
    }

    /// Whether the first AS_PATH has an AS_SET, as far as its segments can be followed.
    pub(crate) fn has_as_set(&self) -> bool {
        let path = self.attributes.iter().find(|it| it.code == 2);
        let mut rest = path.map_or(&[][..], |it| &it.value);
        while let [kind, count, after @ ..] = rest {
            if *kind == 1 {
                return true;
            }
            rest = after.get(4 * usize::from(*count)..).unwrap_or_default();
        }
        false
    }

    /// The whole message.
    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for Attribute { flags, code, value, claims } in &self.attributes {
            let len = claims.unwrap_or(u16::try_from(value.len()).unwrap());
            if let Ok(len) = u8::try_from(len) {
                list.extend([*flags, *code, len]);
            } else {
                list.extend([flags | 0x10, *code]);
                list.extend(len.to_be_bytes());
            }
            list.extend(value);
        }
        let field = |octets: &[u8]| u16::try_from(octets.len()).unwrap().to_be_bytes();
        let body = [&field(&self.withdrawn)[..], &self.withdrawn, &field(&list), &list, &self.nlri]
            .concat();
        let len = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
        [&[0xff; 16][..], &len, &[2], &body].concat()
    }
}
