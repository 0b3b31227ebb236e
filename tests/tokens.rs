//! Token files: what is written comes back; what is cut or damaged gives its longest sound prefix and never a wrong
//! token; a pack of a million is read a few bytes at a time.

mod common;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use detailflow::tokens::{
    Damage, Dft, Found, Geometry, Pack, PackWriter, ReadAt, Salvage, TokenFile, TokenImage, TokenizerId, salvage,
};
use detailflow::{Bundle, Error};

const HEADER: usize = 32;

/// Numbers that look random and are the same every time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// The check of the format, bit by bit: another way than the library's.
fn crc(bytes: &[u8]) -> u16 {
    !bytes.iter().fold(0xFFFF, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| if crc & 1 != 0 { crc >> 1 ^ 0x8408 } else { crc >> 1 })
    })
}

const DETAILFLOW_16: Geometry = Geometry { tokens: 128, group: 8, causal: 8, bits: 13 };

fn sample(geometry: Geometry, count: usize, seed: u64) -> Dft {
    let mut random = Random(seed);
    Dft {
        tokenizer: TokenizerId(random.next().to_le_bytes()),
        geometry,
        class: (!seed.is_multiple_of(3)).then_some(seed as u32 % 65536),
        seed: (!seed.is_multiple_of(2)).then_some(random.next()),
        tokens: (0..count).map(|_| random.next() as u32 & ((1 << geometry.bits) - 1)).collect(),
    }
}

/// Small ones of every kind, each with every prefix that is not like another.
fn small_ones() -> Vec<Dft> {
    let mut all = Vec::new();
    for (tokens, group, causal) in
        [(1, 1, 1), (6, 1, 1), (6, 1, 6), (6, 2, 4), (6, 3, 3), (6, 3, 6), (12, 4, 8), (10, 10, 10)]
    {
        for bits in [1, 4, 7, 8, 11, 13, 16, 20] {
            let geometry = Geometry { tokens, group, causal, bits };
            let prefixes = (1..=tokens).filter(|&count| geometry.is_prefix(count));
            all.extend(prefixes.map(|count| sample(geometry, count, (count as u64) << 8 | u64::from(bits))));
        }
    }
    all
}

/// Where each group ends, its check included.
fn ends(dft: &Dft) -> Vec<usize> {
    let bytes = |group: &[u32]| (group.len() * dft.geometry.bits as usize).div_ceil(8) + 2;
    let sizes = dft.tokens.chunks(dft.geometry.group).map(bytes);
    sizes.scan(HEADER, |at, size| Some(std::mem::replace(at, *at + size) + size)).collect()
}

/// How many tokens the groups that end before `at` hold.
fn before(dft: &Dft, at: usize) -> usize {
    let whole = ends(dft).iter().filter(|&&end| end <= at).count();
    (whole * dft.geometry.group).min(dft.tokens.len())
}

/// A file of which the groups from the one at `at` on are gone gives exactly those before.
fn gives_what_is_before(dft: &Dft, damaged: &[u8], at: usize, what: std::fmt::Arguments<'_>) {
    match Dft::decode(damaged) {
        Err(Error::Tokens(_)) => assert!(at < HEADER, "{what} of {dft:?}"),
        Err(error) => panic!("{what} of {dft:?}: {error:?}"),
        Ok((read, soundness)) => {
            assert!(at >= HEADER, "{what} of {dft:?} was accepted");
            let sound = before(dft, at);
            assert_eq!(read, Dft { tokens: dft.tokens[..sound].to_vec(), ..dft.clone() }, "{what}");
            assert_eq!((soundness.sound, soundness.promised), (sound, dft.tokens.len()), "{what} of {dft:?}");
            assert!(!soundness.is_sound(), "{what} of {dft:?}");
        }
    }
}

#[test]
fn a_picture_of_the_published_size_is_272_bytes() {
    let dft = sample(DETAILFLOW_16, 128, 1);
    let bytes = dft.encode().unwrap();
    assert_eq!(bytes.len(), 32 + 208 + 16 * 2);
    assert_eq!(bytes.len(), 272);
    assert_eq!(bytes[30..32], crc(&bytes[..30]).to_le_bytes());
    // A check is over the header and the codes, not over the checks.
    let mut over = bytes[..30].to_vec();
    for group in bytes[32..].chunks(15) {
        over.extend(&group[..13]);
        assert_eq!(group[13..], crc(&over).to_le_bytes());
    }
}

#[test]
fn what_is_written_comes_back() {
    for bits in 1..=20 {
        for (tokens, group, causal) in
            [(1, 1, 1), (7, 1, 3), (16, 4, 4), (60, 5, 20), (64, 8, 64), (255, 255, 255), (510, 255, 255)]
        {
            let geometry = Geometry { tokens, group, causal, bits };
            for count in (1..=tokens).filter(|&count| geometry.is_prefix(count)) {
                let dft = sample(geometry, count, count as u64);
                let bytes = dft.encode().unwrap();
                assert_eq!(bytes.len(), *ends(&dft).last().unwrap());
                let (read, soundness) = Dft::decode(&bytes).unwrap();
                assert_eq!(read, dft);
                assert!(soundness.is_sound() && soundness.sound == count && soundness.promised == count);
            }
        }
    }
    // Nothing and zero are two things.
    let mut dft = sample(DETAILFLOW_16, 8, 0);
    for (class, seed) in [(None, None), (Some(0), None), (None, Some(0)), (Some(65535), Some(u64::MAX))] {
        (dft.class, dft.seed) = (class, seed);
        assert_eq!(Dft::decode(&dft.encode().unwrap()).unwrap().0, dft);
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let refuse = |geometry, count, word: &str| {
        let error = sample(geometry, count, 1).encode().unwrap_err();
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(word), "{error:?}");
    };
    refuse(DETAILFLOW_16, 0, "0 tokens are not a prefix");
    refuse(DETAILFLOW_16, 9, "9 tokens are not a prefix");
    refuse(DETAILFLOW_16, 136, "136 tokens are not a prefix");
    refuse(Geometry { tokens: 65536, ..DETAILFLOW_16 }, 8, "65536");
    refuse(Geometry { tokens: 0, ..DETAILFLOW_16 }, 8, "0 tokens");
    refuse(Geometry { group: 0, ..DETAILFLOW_16 }, 8, "group of 0");
    refuse(Geometry { tokens: 512, group: 256, causal: 256, bits: 3 }, 8, "group of 256");
    refuse(Geometry { group: 7, ..DETAILFLOW_16 }, 8, "group of 7");
    refuse(Geometry { causal: 9, ..DETAILFLOW_16 }, 8, "9 causal");
    refuse(Geometry { causal: 0, ..DETAILFLOW_16 }, 8, "0 causal");
    refuse(Geometry { causal: 136, ..DETAILFLOW_16 }, 8, "136 causal");
    refuse(Geometry { bits: 0, ..DETAILFLOW_16 }, 8, "0 bits");
    refuse(Geometry { bits: 21, ..DETAILFLOW_16 }, 8, "21 bits");
    let mut dft = sample(DETAILFLOW_16, 8, 1);
    dft.tokens[3] = 1 << 13;
    assert!(dft.encode().unwrap_err().to_string().contains("token 3 is 8192"));
    let dft = Dft { class: Some(65536), ..sample(DETAILFLOW_16, 8, 1) };
    assert!(dft.encode().unwrap_err().to_string().contains("class 65536"));
}

#[test]
fn every_cut_gives_the_whole_groups_before_it() {
    for dft in small_ones().into_iter().chain([sample(DETAILFLOW_16, 128, 1), sample(DETAILFLOW_16, 5, 2)]) {
        let bytes = dft.encode().unwrap();
        for cut in 0..bytes.len() {
            gives_what_is_before(&dft, &bytes[..cut], cut, format_args!("a cut at {cut}"));
            if cut >= HEADER {
                let damage = Dft::decode(&bytes[..cut]).unwrap().1.damage;
                assert_eq!(damage, Some(Damage::Cut { size: cut, whole: bytes.len() }));
            }
        }
        // And what was put behind is told.
        let (read, soundness) = Dft::decode(&[&bytes[..], &[0; 3]].concat()).unwrap();
        assert_eq!((read, soundness.damage), (dft, Some(Damage::Surplus { bytes: 3 })));
    }
}

#[test]
fn every_changed_byte_gives_the_whole_groups_before_it() {
    // Every flipped bit is among the changes.
    for dft in small_ones().into_iter().chain([sample(DETAILFLOW_16, 128, 1), sample(DETAILFLOW_16, 5, 2)]) {
        let mut bytes = dft.encode().unwrap();
        for at in 0..bytes.len() {
            for change in 1..=255u8 {
                bytes[at] ^= change;
                gives_what_is_before(&dft, &bytes, at, format_args!("byte {at} changed by {change:#04x}"));
                bytes[at] ^= change;
            }
        }
    }
}

#[test]
fn changes_of_large_ones_and_cuts_of_changed_ones() {
    let mut random = Random(5);
    for (tokens, group, causal, bits) in
        [(512, 8, 8, 13), (1024, 32, 64, 14), (65535, 255, 255, 20), (65535, 1, 65535, 1)]
    {
        let dft = sample(Geometry { tokens, group, causal, bits }, tokens, 1);
        let bytes = dft.encode().unwrap();
        for _ in 0..60 {
            let (at, cut) = (random.below(bytes.len()), random.below(bytes.len() + 1));
            let mut damaged = bytes[..cut].to_vec();
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            if cut < bytes.len() || at < cut {
                gives_what_is_before(&dft, &damaged, at.min(cut), format_args!("bit at {at}, cut at {cut}"));
            }
        }
    }
}

#[test]
fn groups_that_stand_elsewhere_are_refused() {
    // Two sound groups that change places, and a group of another file: sound bytes in a wrong order.
    let dft = sample(DETAILFLOW_16, 128, 1);
    let bytes = dft.encode().unwrap();
    let other = sample(DETAILFLOW_16, 128, 3).encode().unwrap();
    let mut swapped = bytes.clone();
    swapped[32 + 15..32 + 45].rotate_left(15);
    gives_what_is_before(&dft, &swapped, 32 + 15, format_args!("swapped groups"));
    let mut mixed = bytes.clone();
    mixed[32 + 30..32 + 45].copy_from_slice(&other[32 + 30..32 + 45]);
    gives_what_is_before(&dft, &mixed, 32 + 30, format_args!("a group of another file"));
    let mut lost = bytes.clone();
    lost.drain(32 + 30..32 + 45);
    gives_what_is_before(&dft, &lost, 32 + 30, format_args!("a lost group"));
}

#[test]
fn nothing_at_all_makes_it_crash() {
    let mut random = Random(7);
    let whole = sample(DETAILFLOW_16, 128, 1).encode().unwrap();
    for round in 0..200_000 {
        let mut bytes = whole[..random.below(whole.len() + 1)].to_vec();
        for _ in 0..random.below(6) {
            let at = random.below(bytes.len().max(1));
            match random.below(3) {
                0 => bytes.insert(at, random.next() as u8),
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                _ => bytes.iter_mut().skip(at).take(random.below(40)).for_each(|byte| *byte = random.next() as u8),
            }
        }
        // A header of nonsense whose check is right gets further.
        if round % 2 == 0 && bytes.len() >= HEADER {
            let from = 4 + random.below(26);
            bytes[from..30].iter_mut().for_each(|byte| *byte = random.next() as u8);
            let check = crc(&bytes[..30]).to_le_bytes();
            bytes[30..32].copy_from_slice(&check);
        }
        if let Ok((dft, soundness)) = Dft::decode(&bytes) {
            assert_eq!(soundness.sound, dft.tokens.len());
            assert!(soundness.sound <= soundness.promised && soundness.promised <= dft.geometry.tokens);
            if !dft.tokens.is_empty() {
                dft.encode().expect("what was read can be written");
            }
        }
    }
}

#[test]
fn headers_that_are_wrong_are_told_apart() {
    let bytes = sample(DETAILFLOW_16, 16, 5).encode().unwrap();
    let edited = |edit: &dyn Fn(&mut Vec<u8>), mend: bool| {
        let mut bytes = bytes.clone();
        edit(&mut bytes);
        if mend {
            let check = crc(&bytes[..30]).to_le_bytes();
            bytes[30..32].copy_from_slice(&check);
        }
        Dft::decode(&bytes).unwrap_err().to_string()
    };
    let says = |edit: &dyn Fn(&mut Vec<u8>), mend, word: &str| {
        let error = edited(edit, mend);
        assert!(error.contains(word), "\"{error}\" does not say {word}");
    };
    says(&|bytes| bytes.clear(), false, "not a token file");
    says(&|bytes| bytes.truncate(31), false, "cut off within the header");
    says(&|bytes| bytes[24] ^= 8, false, "header is damaged");
    says(&|bytes| bytes[3] = 2, true, "format 2; this version reads format 1");
    says(&|bytes| bytes[20..22].fill(0), true, "0 tokens of a whole picture");
    says(&|bytes| bytes[24] = 9, true, "9 tokens are no prefix");
    says(&|bytes| bytes[26] = 3, true, "group of 3");
    says(&|bytes| bytes[27] |= 0x1f, true, "31 bits");
    says(&|bytes| bytes[27] |= 0x80, true, "should be zero");
    says(&|bytes| bytes[27] &= !0x20, true, "should be zero");
    says(&|bytes| bytes[27] &= !0x40, true, "should be zero");
}

#[test]
fn files_and_bundles() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(common::small()).unwrap();
    let path = folder.path().join("picture.dft");
    let image =
        TokenImage { class: Some(bundle.classes()[1].clone()), seed: Some(9), tokens: vec![3; bundle.tokens()] };
    let dft = Dft::from_image(&bundle, &image).unwrap();
    assert_eq!((dft.class, dft.seed, dft.geometry), (Some(1), Some(9), Geometry::of(&bundle)));
    assert_eq!(dft.tokenizer.to_string(), bundle.tokenizer_id());
    dft.save(&path).unwrap();
    let (read, soundness) = Dft::open(&path).unwrap();
    assert_eq!(read, dft);
    assert!(soundness.is_sound());
    read.check_bundle(&bundle).unwrap();

    // Tokens that are none of the bundle's.
    let refuse = |dft: &Dft, words: &[&str]| {
        let error = dft.check_bundle(&bundle).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let foreign = Dft { tokenizer: TokenizerId([0xab; 8]), ..dft.clone() };
    refuse(&foreign, &["abababababababab", bundle.tokenizer_id(), bundle.name()]);
    let other = Dft { geometry: Geometry { tokens: 32, ..dft.geometry }, ..dft.clone() };
    refuse(&other, &["32 tokens", "16 tokens", bundle.name()]);
    refuse(&Dft { class: Some(4711), ..dft.clone() }, &["class 4711"]);
    let codes = bundle.codes() as u32;
    if codes.count_ones() != 1 {
        refuse(&Dft { tokens: vec![codes; 16], ..dft.clone() }, &["token 0", "codebook"]);
    }
    assert!(Dft::new(&bundle, Some(4711), None, vec![0]).is_err());
    assert!(Dft::new(&bundle, None, None, vec![codes]).is_err());
    assert!(Dft::new(&bundle, None, None, vec![0; bundle.causal() + 1]).is_err());

    // Files that are none.
    let missing = Dft::open(folder.path().join("absent.dft")).unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
    std::fs::write(&path, "soup").unwrap();
    let error = Dft::open(&path).unwrap_err();
    assert!(matches!(error, Error::Format { .. }) && error.to_string().contains("picture.dft: not a token file"));
    assert!("0123456789abcde".parse::<TokenizerId>().is_err() && "+123456789abcdef".parse::<TokenizerId>().is_err());
    assert_eq!("0123456789ABcdef".parse::<TokenizerId>().unwrap().to_string(), "0123456789abcdef");
}

#[test]
fn soundness_is_told_in_words() {
    let bytes = sample(DETAILFLOW_16, 128, 1).encode().unwrap();
    let says = |bytes: &[u8]| Dft::decode(bytes).unwrap().1.to_string();
    assert_eq!(says(&bytes), "sound, all 128 tokens are sound");
    assert_eq!(says(&bytes[..100]), "cut off after 100 of 272 bytes: the first 32 of 128 tokens are sound");
    assert_eq!(says(&bytes[..33]), "cut off after 33 of 272 bytes: none of 128 tokens is sound");
    let mut damaged = bytes.clone();
    damaged[70] ^= 1;
    assert_eq!(says(&damaged), "damaged in group 2, which begins at byte 62: the first 16 of 128 tokens are sound");
    assert_eq!(says(&[&bytes[..], b"\n"].concat()), "1 bytes too many at its end: all 128 tokens are sound");
}

// --- Packs ---

const SMALL: Geometry = Geometry { tokens: 6, group: 2, causal: 4, bits: 5 };

/// A pack in memory, through a file.
fn pack(entries: &[(Option<&str>, Dft)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.dftpack");
    let mut writer = PackWriter::create(&path).unwrap();
    for (at, (name, dft)) in entries.iter().enumerate() {
        assert_eq!(writer.add(*name, dft).unwrap(), at as u32);
    }
    assert!(!path.exists(), "it appears when it is finished");
    writer.finish().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    std::fs::read(path).unwrap()
}

fn three() -> Vec<(Option<&'static str>, Dft)> {
    vec![(Some("wand"), sample(SMALL, 6, 1)), (None, sample(SMALL, 3, 2)), (Some("knights/Löwe"), sample(SMALL, 4, 3))]
}

fn open(bytes: &[u8]) -> detailflow::Result<Pack<&[u8]>> {
    Pack::from_source(bytes, "all.dftpack")
}

#[test]
fn a_pack_gives_back_what_was_put_in() {
    let entries = three();
    let bytes = pack(&entries);
    let pack = open(&bytes).unwrap();
    assert_eq!((pack.len(), pack.is_empty()), (3, false));
    for (number, (name, dft)) in (0..).zip(&entries) {
        let entry = pack.get(number).unwrap();
        assert_eq!((entry.number, entry.name.as_deref(), &entry.dft), (number, *name, dft));
        assert!(entry.soundness.is_sound());
        assert_eq!(pack.encoded(number).unwrap(), dft.encode().unwrap());
        assert_eq!(pack.name(number).unwrap().as_deref(), *name);
        if let Some(name) = name {
            assert_eq!(pack.find(name).unwrap(), Some(number));
        }
    }
    for absent in ["", "Wand", "wan", "knights"] {
        assert_eq!(pack.find(absent).unwrap(), None, "{absent:?}");
    }
    let error = pack.get(3).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains("entry 3"), "{error:?}");

    let bytes = self::pack(&[]);
    let empty = open(&bytes).unwrap();
    assert!(empty.is_empty() && empty.get(0).is_err() && empty.find("wand").unwrap().is_none());
}

#[test]
fn a_writer_refuses_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.dftpack");
    std::fs::write(&path, "what was there").unwrap();
    let dft = sample(SMALL, 6, 1);
    let mut writer = PackWriter::create(&path).unwrap();
    writer.add(Some("one"), &dft).unwrap();
    let refuse = |outcome: detailflow::Result<u32>, word: &str| {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(word), "\"{error}\" does not say {word}");
    };
    refuse(writer.add(Some("one"), &dft), "\"one\" is entry 0's already");
    refuse(writer.add(Some(""), &dft), "0 bytes");
    refuse(writer.add(Some(&"n".repeat(256)), &dft), "256 bytes");
    refuse(writer.add(Some("two\nlines"), &dft), "control");
    refuse(writer.add(None, &Dft { tokens: vec![], ..dft.clone() }), "prefix");
    let bytes = dft.encode().unwrap();
    refuse(writer.add_encoded(None, &bytes[..bytes.len() - 1]), "cut off");
    refuse(writer.add_encoded(None, b"soup"), "not a token file");
    assert_eq!(writer.add_encoded(Some(&"n".repeat(255)), &bytes).unwrap(), 1);
    assert!(writer.len() == 2 && writer.contains("one") && !writer.contains("two"));

    // Dropped, it leaves what was there; so does a place that cannot be written.
    drop(writer);
    assert_eq!(std::fs::read(&path).unwrap(), b"what was there");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(PackWriter::create(folder.path().join("nowhere/x.dftpack")), Err(Error::Io { .. })));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_stays_one() {
    let mut writer = PackWriter::create("/dev/full").unwrap();
    let dft = sample(DETAILFLOW_16, 128, 1);
    let error = (0..1000).find_map(|_| writer.add(None, &dft).err()).unwrap();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(matches!(writer.add(None, &dft), Err(Error::State(_))));
    assert!(matches!(writer.finish(), Err(Error::State(_))));
    let mut writer = PackWriter::create("/dev/full").unwrap();
    writer.add(None, &dft).unwrap();
    assert!(matches!(writer.finish(), Err(Error::Io { .. })));
}

#[test]
fn packs_that_are_none() {
    let bytes = pack(&three());
    let refuse = |bytes: &[u8], word: &str| {
        let error = open(bytes).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error:?}");
        assert!(error.to_string().contains("all.dftpack") && error.to_string().contains(word), "{error}");
    };
    refuse(b"", "not a pack");
    refuse(b"DFTPACK", "not a pack");
    refuse(&sample(SMALL, 6, 1).encode().unwrap(), "not a pack");
    refuse(b"DFTPACK\x02 and more", "format 2; this version reads format 1");
    refuse(b"DFTPACK\x01", "cut or damaged");
    for cut in 8..bytes.len() {
        refuse(&bytes[..cut], "cut or damaged");
    }
    refuse(&[&bytes[..], b"\n"].concat(), "cut or damaged");
    let missing = Pack::open("/nonexistent/all.dftpack").unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
    assert!(matches!(Pack::open("/"), Err(Error::Io { .. })), "a folder");
}

#[test]
fn no_changed_byte_of_a_pack_gives_a_wrong_entry() {
    let entries = three();
    let mut bytes = pack(&entries);
    for at in 0..bytes.len() {
        for change in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF, 0x5A] {
            bytes[at] ^= change;
            let damaged = bytes.clone();
            bytes[at] ^= change;
            let mut wrong = 0;
            match open(&damaged) {
                Err(error) => assert!(matches!(error, Error::Format { .. }), "byte {at}: {error:?}"),
                Ok(pack) => {
                    assert_eq!(pack.len(), 3);
                    for (number, (name, dft)) in (0..).zip(&entries) {
                        match pack.get(number) {
                            Err(Error::Format { .. }) => wrong += 1,
                            Err(error) => panic!("byte {at}: {error:?}"),
                            Ok(entry) => {
                                assert_eq!(entry.name.as_deref(), *name, "byte {at}");
                                assert!(dft.tokens.starts_with(&entry.dft.tokens), "byte {at}");
                                let whole = Dft { tokens: dft.tokens.clone(), ..entry.dft };
                                assert_eq!(whole, *dft, "byte {at}");
                                wrong += u32::from(!entry.soundness.is_sound());
                            }
                        }
                        match name.map(|name| pack.find(name)) {
                            None => {}
                            Some(Ok(found)) => assert_eq!(found, Some(number), "byte {at}"),
                            Some(Err(Error::Format { .. })) => wrong += 1,
                            Some(Err(error)) => panic!("byte {at}: {error:?}"),
                        }
                        assert!(!matches!(pack.find("absent"), Ok(Some(_)) | Err(Error::Invalid(_))), "byte {at}");
                    }
                    assert!(wrong > 0, "byte {at} changed by {change:#04x} was not seen");
                    assert!(wrong <= 2, "byte {at} costs no more than its entry and its name");
                }
            }
            // Whatever happened, everything but the entry at that byte can be salvaged.
            let found = salvaged(&damaged);
            let whole = |found: &&Found| found.soundness.is_sound();
            assert!(found.iter().filter(whole).count() >= 2, "byte {at}: {found:?}");
            for one in found {
                // The entry without its head has no number.
                let dft = entries.iter().map(|(_, dft)| dft).find(|dft| dft.tokenizer == one.dft.tokenizer).unwrap();
                assert!(dft.tokens.starts_with(&one.dft.tokens), "byte {at}");
            }
        }
    }
}

fn salvaged(bytes: &[u8]) -> Vec<Found> {
    Salvage::from_source(bytes, "all.dftpack").unwrap().collect::<detailflow::Result<_>>().unwrap()
}

#[test]
fn what_is_left_of_a_cut_pack_is_salvaged() {
    let entries = three();
    let bytes = pack(&entries);
    let whole = salvaged(&bytes);
    let expected = entries.iter().map(|(name, dft)| (name.map(str::to_owned), dft.clone()));
    assert!(whole.iter().map(|found| (found.name.clone(), found.dft.clone())).eq(expected));
    assert!((0..).zip(&whole).all(|(number, found)| found.number == Some(number) && found.soundness.is_sound()));

    for cut in 0..bytes.len() {
        let found = salvaged(&bytes[..cut]);
        for (one, whole) in found.iter().zip(&whole) {
            assert_eq!((one.at, one.number, &one.name), (whole.at, whole.number, &whole.name), "cut at {cut}");
            assert!(whole.dft.tokens.starts_with(&one.dft.tokens), "cut at {cut}");
        }
        let ended = |found: &&Found| {
            found.at as usize + 16 + found.name.as_deref().map_or(0, str::len) + found.dft.encode().unwrap().len()
                <= cut
        };
        let sound = found.iter().filter(|found| found.soundness.is_sound()).count();
        assert_eq!(sound, whole.iter().filter(ended).count(), "cut at {cut}");
        assert!(found.len() <= sound + 1);
    }

    // Soup before, between and after; an entry that lost its head; a lone file. In steps, as files are read.
    let mut soup = vec![b'D'; 70_000];
    soup.extend(&bytes[..whole[1].at as usize]);
    soup.extend(b"DFTDFTeDFT\x01".repeat(7000));
    soup.extend(&bytes[whole[1].at as usize + 3..]);
    soup.extend(sample(DETAILFLOW_16, 128, 9).encode().unwrap());
    let found = salvaged(&soup);
    let tokens: Vec<_> = found.iter().map(|found| (found.number, found.dft.tokens.clone())).collect();
    let dft = |at: usize| entries[at].1.tokens.clone();
    let lone = sample(DETAILFLOW_16, 128, 9).tokens;
    assert_eq!(tokens, [(Some(0), dft(0)), (None, dft(1)), (Some(2), dft(2)), (None, lone)]);
}

#[test]
fn a_salvaged_pack_is_a_sound_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mended) = (folder.path().join("cut.dftpack"), folder.path().join("mended.dftpack"));
    let entries: Vec<_> = (0..100).map(|number| (Some(format!("n{number}")), sample(SMALL, 6, number + 1))).collect();
    let named: Vec<_> = entries.iter().map(|(name, dft)| (name.as_deref(), dft.clone())).collect();
    let mut bytes = pack(&named);
    let at = |number: usize| salvaged(&bytes)[number].at as usize;
    let (second, middle) = (at(1), at(50));
    // The last group of the second is damaged, and everything from the middle of the 50th on is lost.
    bytes[second + 16 + 2 + 32 + 4 + 4] ^= 1;
    std::fs::write(&path, &bytes[..middle + 20]).unwrap();
    let told = salvage(&path, &mended).unwrap();
    assert_eq!((told.entries, told.shortened), (50, 1));
    let pack = Pack::open(&mended).unwrap();
    for (number, (name, dft)) in (0..50).zip(&entries) {
        let entry = pack.get(number).unwrap();
        assert!(entry.soundness.is_sound() && entry.name == *name);
        assert_eq!(entry.dft.tokens, dft.tokens[..if number == 1 { 4 } else { 6 }]);
    }
    std::fs::write(&path, &bytes[..20]).unwrap();
    std::fs::write(&mended, "what was there").unwrap();
    assert!(matches!(salvage(&path, &mended), Err(Error::Format { .. })));
    assert_eq!(std::fs::read(&mended).unwrap(), b"what was there");
}

/// Counts what is read.
struct Counting<'a> {
    file: &'a File,
    reads: &'a AtomicU64,
    bytes: &'a AtomicU64,
}

impl ReadAt for Counting<'_> {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_exact_at(buffer, offset)
    }
}

#[test]
fn a_million_are_sampled_without_reading_the_whole() {
    const MILLION: u32 = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("million.dftpack");
    let mut writer = PackWriter::create(&path).unwrap();
    let one = |number: u32| {
        let tokens = (0..6).map(|k| number >> (3 * k) & 31).collect();
        Dft {
            tokenizer: TokenizerId([7; 8]),
            geometry: SMALL,
            class: Some(number % 21),
            seed: Some(number.into()),
            tokens,
        }
    };
    let name = |number: u32| format!("sprite-{number}");
    for number in 0..MILLION {
        assert_eq!(writer.add(Some(&name(number)), &one(number)).unwrap(), number);
    }
    writer.finish().unwrap();

    let file = File::open(&path).unwrap();
    let size = file.metadata().unwrap().len();
    let (reads, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    // What was read since the last time.
    let spent = || (reads.swap(0, Ordering::Relaxed), bytes.swap(0, Ordering::Relaxed));
    let pack = Pack::from_source(Counting { file: &file, reads: &reads, bytes: &bytes }, &path).unwrap();
    assert_eq!(pack.len(), MILLION);
    assert_eq!(spent(), (2, 40), "to open");

    let mut random = Random(11);
    let (mut most, mut total) = (0, 0);
    for _ in 0..2000 {
        let number = random.below(MILLION as usize) as u32;
        let entry = pack.get(number).unwrap();
        assert!(entry.soundness.is_sound());
        assert_eq!((entry.name, entry.dft), (Some(name(number)), one(number)));
        let (reads, bytes) = spent();
        assert!(reads == 2 && bytes < 100, "an entry took {reads} reads of {bytes} bytes");
        total += bytes;

        assert_eq!(pack.find(&name(number)).unwrap(), Some(number));
        let (reads, bytes) = spent();
        (most, total) = (most.max(reads), total + bytes);
        assert!(reads <= 9 && bytes < 8192, "a name took {reads} reads of {bytes} bytes");
        assert_eq!(pack.find(&name(MILLION + number)).unwrap(), None);
        let (reads, bytes) = spent();
        assert!(reads <= 7 && bytes < 8192, "a name that is not there took {reads} reads of {bytes} bytes");
        total += bytes;
    }
    println!(
        "{size} bytes in the pack, {total} read for 2000 entries by number and by name, at most {most} reads for a name"
    );
    assert!(total < size / 8, "{total} of {size} bytes were read");
}

// --- The page ---

/// The bytes of the code block that follows `title` in `onnx/README.md`: hex digits up to the first `|` of a line.
fn example(title: &str) -> Vec<u8> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/onnx/README.md")).unwrap();
    let (_, rest) = page.split_once(title).unwrap_or_else(|| panic!("no \"{title}\" in onnx/README.md"));
    let lines = rest.lines().skip_while(|line| !line.starts_with("    ")).take_while(|line| line.starts_with("    "));
    let words = lines.flat_map(|line| line.split('|').next().unwrap().split_whitespace());
    words.map(|word| u8::from_str_radix(word, 16).unwrap_or_else(|_| panic!("{word} is no byte"))).collect()
}

fn example_dft() -> Dft {
    Dft {
        tokenizer: "0123456789abcdef".parse().unwrap(),
        geometry: Geometry { tokens: 16, group: 4, causal: 8, bits: 10 },
        class: Some(3),
        seed: Some(7),
        tokens: vec![1, 2, 3, 1023, 512, 0],
    }
}

#[test]
fn the_example_of_the_page_is_what_is_written() {
    let dft = example_dft();
    assert_eq!(example("#### A `.dft`, byte by byte"), dft.encode().unwrap());
    assert_eq!(example("#### A `.dftpack`, byte by byte"), pack(&[(Some("wand"), dft)]));
}

#[test]
fn json_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(common::small()).unwrap();
    let path = folder.path().join("t.json");
    let image = TokenImage { class: None, seed: None, tokens: vec![1, 2] };
    TokenFile::new(&bundle, vec![image.clone()]).save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let id = bundle.tokenizer_id();
    assert_eq!(
        text,
        format!(
            "{{\"format\":1,\"bundle\":\"{id}\",\"images\":[{{\"class\":null,\"seed\":null,\"tokens\":[1,2]}}]}}\n"
        )
    );
    let read = TokenFile::open(&path).unwrap();
    read.check_bundle(&bundle).unwrap();
    assert_eq!(read.images, [image]);
}
