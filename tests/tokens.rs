//! Token files: round trips; a damaged or truncated file gives its longest sound prefix and never a wrong token; an
//! entry of a pack of a million is found with a few reads.

mod common;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use common::Random;
use detailflow::tokens::{
    Damage, Dft, Found, Geometry, Pack, PackWriter, ReadAt, Salvage, TokenFile, TokenImage, TokenizerId, salvage,
};
use detailflow::{Bundle, Curve, Error, Generation, Guidance, Mix, Request, Sampling, tasks};

const HEADER: usize = 32;

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
        mix: None,
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
fn dft_of_the_published_size_is_272_bytes() {
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
fn dft_round_trip_gives_the_same_tokens() {
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
fn dft_encode_of_invalid_input_is_refused() {
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
fn dft_decode_of_a_cut_file_gives_the_complete_groups() {
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
fn dft_decode_with_a_changed_byte_gives_the_groups_before_it() {
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
fn dft_decode_of_large_changed_and_cut_files_gives_sound_groups() {
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
fn dft_decode_refuses_moved_groups() {
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
fn dft_decode_refuses_nonzero_spare_bits() {
    for dft in small_ones() {
        let bytes = dft.encode().unwrap();
        let mut start = HEADER;
        let mut over = bytes[..30].to_vec();
        for (end, tokens) in ends(&dft).into_iter().zip(dft.tokens.chunks(dft.geometry.group)) {
            over.extend(&bytes[start..end - 2]);
            let used = tokens.len() * dft.geometry.bits as usize;
            for bit in used..(end - 2 - start) * 8 {
                let (mut odd, mut mended) = (bytes.clone(), over.clone());
                odd[start + bit / 8] |= 1 << (bit % 8);
                *mended.last_mut().unwrap() = odd[end - 3];
                odd[end - 2..end].copy_from_slice(&crc(&mended).to_le_bytes());
                gives_what_is_before(&dft, &odd, start, format_args!("spare bit {bit}"));
            }
            start = end;
        }
    }
}

#[test]
fn dft_decode_survives_random_bytes() {
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
fn dft_header_errors_are_distinct() {
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
    says(&|bytes| bytes[20..22].fill(0), true, "0 tokens of a full picture");
    says(&|bytes| bytes[24] = 9, true, "9 tokens are no prefix");
    says(&|bytes| bytes[26] = 3, true, "group of 3");
    says(&|bytes| bytes[27] |= 0x1f, true, "31 bits");
    says(&|bytes| bytes[27] |= 0x80, true, "mix of classes");
    says(&|bytes| bytes[27] &= !0x20, true, "should be zero");
    says(&|bytes| bytes[27] &= !0x40, true, "should be zero");
}

#[test]
fn token_files_match_their_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(common::small()).unwrap();
    let path = folder.path().join("picture.dft");
    let image = TokenImage {
        class: Some(bundle.classes()[1].clone()),
        seed: Some(9),
        tokens: vec![3; bundle.tokens()],
        ..TokenImage::default()
    };
    let dft = bundle.dft_from_image(&image).unwrap();
    assert_eq!((dft.class, dft.seed, dft.geometry), (Some(1), Some(9), bundle.geometry()));
    assert_eq!(dft.tokenizer.to_string(), bundle.tokenizer_id());
    dft.save(&path).unwrap();
    let (read, soundness) = Dft::open(&path).unwrap();
    assert_eq!(read, dft);
    assert!(soundness.is_sound());
    bundle.check_dft(&read).unwrap();

    // Tokens that are none of the bundle's.
    let refuse = |dft: &Dft, words: &[&str]| {
        let error = bundle.check_dft(dft).unwrap_err().to_string();
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
    assert!(bundle.dft(Some(4711), None, vec![0]).is_err());
    assert!(bundle.dft(None, None, vec![codes]).is_err());
    assert!(bundle.dft(None, None, vec![0; bundle.causal() + 1]).is_err());

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
fn dft_soundness_is_described_in_words() {
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
fn pack_round_trip_gives_the_same_entries() {
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
fn pack_writer_refuses_an_entry_and_continues() {
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
    refuse(writer.add(Some("one"), &dft), "\"one\" is taken by entry 0");
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
fn pack_writer_on_a_full_disk_keeps_failing() {
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
fn pack_open_refuses_other_files() {
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
    refuse(b"DFTPACK\x01", "truncated or damaged");
    for cut in 8..bytes.len() {
        refuse(&bytes[..cut], "truncated or damaged");
    }
    refuse(&[&bytes[..], b"\n"].concat(), "truncated or damaged");
    let missing = Pack::open("/nonexistent/all.dftpack").unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
    assert!(matches!(Pack::open("/"), Err(Error::Io { .. })), "a folder");
}

#[test]
fn pack_with_a_changed_byte_gives_no_wrong_entry() {
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

#[test]
fn pack_open_survives_random_bytes() {
    let entries: Vec<_> = (0..150).map(|number| (Some(format!("n{number}")), sample(SMALL, 6, number + 1))).collect();
    let named: Vec<_> = entries.iter().map(|(name, dft)| (name.as_deref(), dft.clone())).collect();
    let whole = pack(&named);
    let footer = whole.len() - 32;
    let names = footer - 150 * 16;
    let index = names - 150 * 16;
    let mut random = Random(13);
    let mut opened = 0;
    for round in 0..3000 {
        let mut bytes = whole.clone();
        // Nonsense whose check is right: records of another writer, who is mistaken or means harm.
        for _ in 0..1 + random.below(150) {
            let (table, place) = (if random.below(2) == 0 { index } else { names }, random.below(150));
            let at = table + place * 16;
            for _ in 0..1 + random.below(4) {
                bytes[at + random.below(14)] = [0, 1, 0x7F, 0xFF, random.next() as u8][random.below(5)];
            }
            let check = crc(&[&(place as u32).to_le_bytes(), &bytes[at..at + 14]].concat());
            bytes[at + 14..at + 16].copy_from_slice(&check.to_le_bytes());
        }
        if round % 3 == 0 {
            bytes[footer + random.below(24)] = random.next() as u8;
            let check = crc(&bytes[footer..footer + 30]);
            bytes[footer + 30..].copy_from_slice(&check.to_le_bytes());
        }
        let Ok(pack) = open(&bytes) else { continue };
        opened += 1;
        for number in 0..10 {
            let number = number * 15;
            // Whatever the index says: a sound head is that of its entry.
            match pack.get(number) {
                Ok(entry) => {
                    assert_eq!(
                        (entry.name, &entry.dft),
                        (entries[number as usize].0.clone(), &named[number as usize].1)
                    );
                }
                Err(error) => assert!(matches!(error, Error::Format { .. } | Error::Invalid(_)), "{error:?}"),
            }
            if let Ok(Some(found)) = pack.find(&format!("n{number}")) {
                assert_eq!(found, number);
            }
            let _ = (pack.encoded(number), pack.name(number));
        }
    }
    assert!(opened > 2000, "{opened} of 3000 packs opened");
}

fn salvaged(bytes: &[u8]) -> Vec<Found> {
    Salvage::from_source(bytes, "all.dftpack").unwrap().collect::<detailflow::Result<_>>().unwrap()
}

#[test]
fn salvage_of_a_cut_pack_finds_the_remaining_entries() {
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
    let lone = sample(DETAILFLOW_16, 128, 9);
    assert_eq!(tokens, [(Some(0), dft(0)), (None, dft(1)), (Some(2), dft(2)), (None, lone.tokens.clone())]);

    // Across the end of what is read at once, and one that is larger than that.
    let large = sample(Geometry { tokens: 65535, group: 1, causal: 1, bits: 20 }, 65535, 4);
    for before in 65500..65540 {
        let soup = [&vec![0; before][..], &lone.encode().unwrap()].concat();
        assert_eq!(salvaged(&soup).len(), 1, "{before} bytes before it");
    }
    let bytes = pack(&[(Some("a"), large.clone()), (None, lone.clone()), (None, large.clone())]);
    let found = salvaged(&bytes);
    assert!(found.iter().map(|found| &found.dft).eq([&large, &lone, &large]));
    let sound = open(&bytes).unwrap().get(2).unwrap();
    assert_eq!(sound.dft, large);
}

#[test]
fn salvage_finds_pictures_of_a_mix() {
    let of = |points: u32, avoid: u32| {
        let points: Vec<(u32, f32)> = (0..points).map(|at| (at * 7, 0.123_456_78 + at as f32 / 7.0)).collect();
        let curve = Curve::new(&points).unwrap();
        let list = |count: u32| (0..count).map(|class| (class, curve.clone())).collect::<Vec<_>>();
        let mix = Mix::new(&list(2), &list(avoid)).unwrap();
        Dft { class: Some(0), mix: Some(mix), ..sample(DETAILFLOW_16, 128, 5) }
    };
    let entries = [(Some("short"), of(1, 1)), (None, of(60, 12)), (Some("last"), sample(DETAILFLOW_16, 128, 7))];
    assert!(entries[1].1.encode().unwrap().len() > 8192);
    let bytes = pack(&entries);
    let dfts = || entries.iter().map(|(_, dft)| dft);
    let found = salvaged(&bytes);
    assert!(found.iter().map(|found| &found.dft).eq(dfts()) && found.iter().all(|found| found.soundness.is_sound()));
    // Without the headers of entries, and with other bytes in between.
    let mut lone = Vec::new();
    for dft in dfts() {
        lone.extend(dft.encode().unwrap());
        lone.extend(b"soup");
    }
    let found = salvaged(&lone);
    assert!(found.iter().map(|found| &found.dft).eq(dfts()) && found.iter().all(|found| found.soundness.is_sound()));
}

/// A source that counts what is read of it.
struct Counted<'a>(&'a [u8], std::cell::Cell<u64>);

impl ReadAt for Counted<'_> {
    fn size(&self) -> std::io::Result<u64> {
        self.0.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.1.set(self.1.get() + buffer.len() as u64);
        self.0.read_exact_at(buffer, offset)
    }
}

/// Headers may promise the largest file each; the work stays in proportion to what is there.
#[test]
fn salvage_of_headers_that_promise_much_reads_the_file_once_or_twice() {
    let large = sample(Geometry { tokens: 65535, group: 1, causal: 1, bits: 20 }, 65535, 4).encode().unwrap();
    let lone = sample(DETAILFLOW_16, 128, 9);
    let soup = [b"DFTPACK\x01", &large[..32].repeat(20_000)[..], &lone.encode().unwrap()].concat();
    let source = Counted(&soup, std::cell::Cell::new(0));
    let found: Vec<Found> = Salvage::from_source(&source, "all.dftpack").unwrap().map(Result::unwrap).collect();
    assert_eq!(found.iter().map(|found| &found.dft).collect::<Vec<_>>(), [&lone]);
    assert!(source.1.get() < 3 * soup.len() as u64, "{} bytes are read of {}", source.1.get(), soup.len());
    // The same with a sound token each.
    let soup = large[..37].repeat(20_000);
    let source = Counted(&soup, std::cell::Cell::new(0));
    assert_eq!(Salvage::from_source(&source, "all.dftpack").unwrap().count(), 20_000);
    assert!(source.1.get() < 3 * soup.len() as u64, "{} bytes are read of {}", source.1.get(), soup.len());
}

#[test]
fn json_with_a_byte_order_mark_is_read_and_utf_16_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    let text = "\u{feff}{\"format\": 1, \"bundle\": \"0011223344556677\", \"images\": [{\"class\": null, \"seed\": 1, \"tokens\": [1]}]}";
    std::fs::write(&path, text).unwrap();
    assert_eq!(TokenFile::open(&path).unwrap().images[0].tokens, [1]);
    assert!(matches!(detailflow::tokens::open_any(&path).unwrap(), detailflow::tokens::AnyTokens::Json(_)));
    std::fs::write(&path, text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    let error = detailflow::tokens::open_any(&path).unwrap_err().to_string();
    assert!(error.contains("UTF-16"), "{error}");
}

/// As everything else takes it: by name or by index.
#[test]
fn json_with_a_class_by_index_is_that_class() {
    let bundle = Bundle::open(common::small()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    let of = |class: &str| {
        let id = bundle.tokenizer_id();
        let image = format!("{{\"class\": {class}, \"seed\": 7, \"tokens\": [1, 2, 3, 4]}}");
        std::fs::write(&path, format!("{{\"format\": 1, \"bundle\": \"{id}\", \"images\": [{image}]}}")).unwrap();
        TokenFile::open(&path)
    };
    for class in ["1", "\"1\"", &format!("\"{}\"", bundle.classes()[1])] {
        assert_eq!(bundle.dft_from_image(&of(class).unwrap().images[0]).unwrap().class, Some(1), "{class}");
    }
    assert_eq!(bundle.dft_from_image(&of("null").unwrap().images[0]).unwrap().class, None);
    assert!(bundle.dft_from_image(&of("4000").unwrap().images[0]).unwrap_err().to_string().contains("4000"));
    for class in ["-1", "1.5", "4294967296", "[1]", "true"] {
        let error = of(class).unwrap_err().to_string();
        assert!(error.contains("class") && error.contains("index"), "{class}: {error}");
    }
}

#[test]
fn salvage_writes_a_sound_pack() {
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
fn pack_of_a_million_reads_few_bytes_per_entry() {
    const MILLION: u32 = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("million.dftpack");
    let mut writer = PackWriter::create(&path).unwrap();
    let one = |number: u32| {
        let tokens = (0..6).map(|k| number >> (3 * k) & 31).collect();
        Dft {
            mix: None,
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

#[test]
fn mix_of_a_file_has_one_text_and_more_than_a_class() {
    let mix = |classes: &[(u32, Curve)]| Some(Mix::new(classes, &[]).unwrap());
    let of = |mix| Dft { class: Some(1), mix, ..sample(DETAILFLOW_16, 8, 5) };
    let error = of(mix(&[(1, 0.5.into())])).encode().unwrap_err().to_string();
    assert!(error.contains("one class"), "{error}");
    let bytes = of(mix(&[(1, 0.5.into()), (2, 0.25.into())])).encode().unwrap();
    let text = b"1:0.5,2:0.25";
    assert_eq!(&bytes[34..34 + text.len()], text);
    // The same mix in other words: the writer's mistake, as the checks are right.
    for other in ["2:0.25,1:0.5", "1:.5,2:0.25;", "1:0.5,2:0.25,3:0", "1:0.50,2:0.25", "01:0.5,2:0.25"] {
        let mut changed = bytes[..32].to_vec();
        changed.extend((other.len() as u16).to_le_bytes());
        changed.extend(other.as_bytes());
        let covered = [&changed[..30], &changed[32..]].concat();
        changed.extend(crc(&covered).to_le_bytes());
        let error = Dft::decode(&changed).unwrap_err().to_string();
        assert!(error.contains("contradicts itself"), "{other}: {error}");
    }
}

// --- The page ---

/// The bytes of the code block that follows `title` in `onnx/TOKENS.md`: hex digits up to the first `|` of a line.
fn example(title: &str) -> Vec<u8> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/onnx/TOKENS.md")).unwrap();
    let (_, rest) = page.split_once(title).unwrap_or_else(|| panic!("no \"{title}\" in onnx/TOKENS.md"));
    let lines = rest.lines().skip_while(|line| !line.starts_with("    ")).take_while(|line| line.starts_with("    "));
    let words = lines.flat_map(|line| line.split('|').next().unwrap().split_whitespace());
    words.map(|word| u8::from_str_radix(word, 16).unwrap_or_else(|_| panic!("{word} is no byte"))).collect()
}

fn example_dft() -> Dft {
    Dft {
        mix: None,
        tokenizer: "0123456789abcdef".parse().unwrap(),
        geometry: Geometry { tokens: 16, group: 4, causal: 8, bits: 10 },
        class: Some(3),
        seed: Some(7),
        tokens: vec![1, 2, 3, 1023, 512, 0],
    }
}

#[test]
fn documented_dft_example_equals_the_encoder_output() {
    let dft = example_dft();
    assert_eq!(example("### A `.dft`, byte by byte"), dft.encode().unwrap());
    assert_eq!(example("### A `.dftpack`, byte by byte"), pack(&[(Some("wand"), dft)]));
}

#[test]
fn json_token_files_keep_their_layout() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(common::small()).unwrap();
    let path = folder.path().join("t.json");
    let image = TokenImage { tokens: vec![1, 2], ..TokenImage::default() };
    TokenFile::new(bundle.tokenizer_id(), vec![image.clone()]).save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let id = bundle.tokenizer_id();
    assert_eq!(
        text,
        format!(
            "{{\"format\":1,\"bundle\":\"{id}\",\"images\":[{{\"class\":null,\"seed\":null,\"tokens\":[1,2]}}]}}\n"
        )
    );
    let read = TokenFile::open(&path).unwrap();
    bundle.check_token_file(&read).unwrap();
    assert_eq!(read.images, [image]);
}

// --- What was lost is drawn again ---

#[test]
fn repair_restores_the_original_tokens() {
    for (precision, form) in
        [("fp32", "native"), ("fp32", "mha"), ("fp32", "plain"), ("int8", "native"), ("int8", "mha")]
    {
        let model = common::open(&common::small(), precision, form);
        let bundle = model.bundle();
        let mut request = Request::new(&model);
        request.set_guidance(Guidance::constant(2.0)).unwrap();
        request.set_sampling(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 }).unwrap();
        let mut drawn = Generation::new(request.clone().set_class(1).unwrap().set_seed(77)).unwrap();
        drawn.finish().unwrap();
        let dft = bundle.dft(Some(1), Some(77), drawn.tokens(0).unwrap().to_vec()).unwrap();
        let bytes = dft.encode().unwrap();
        for cut in (HEADER..bytes.len()).step_by(3) {
            let (left, soundness) = Dft::decode(&bytes[..cut]).unwrap();
            assert_eq!(
                tasks::repair(&request, &left, soundness.promised).unwrap(),
                dft,
                "{precision} {form}, cut at {cut}"
            );
        }

        // Another seed keeps what is sound and draws another rest; a file that says neither takes the request's.
        let (left, _) = Dft::decode(&bytes[..bytes.len() - 5]).unwrap();
        let other = tasks::repair(&request, &Dft { seed: Some(78), ..left.clone() }, 16).unwrap();
        assert!(other.tokens.starts_with(&left.tokens) && other.tokens != dft.tokens && other.seed == Some(78));
        request.set_class(1).unwrap().set_seed(77);
        let unsaid = Dft { class: None, seed: None, ..left.clone() };
        assert_eq!(tasks::repair(&request, &unsaid, 16).unwrap(), dft);

        // Any prefix may be asked for: one within the causal part, one that is there already.
        let nothing = Dft { tokens: vec![], ..dft.clone() };
        for count in (1..=16).filter(|&count| dft.geometry.is_prefix(count)) {
            assert_eq!(tasks::repair(&request, &nothing, count).unwrap().tokens, dft.tokens[..count]);
            assert_eq!(tasks::repair(&request, &dft, count).unwrap().tokens, dft.tokens[..count]);
        }
        assert!(tasks::repair(&request, &left, 0).is_err() && tasks::repair(&request, &left, 17).is_err());
        let foreign = Dft { tokenizer: TokenizerId([1; 8]), ..left };
        assert!(tasks::repair(&request, &foreign, 16).unwrap_err().to_string().contains("0101010101010101"));
    }
}

/// `dflow` with token files.
#[cfg(feature = "cli")]
mod command {
    use std::path::Path;

    use super::common::run_dflow as dflow;
    use super::*;

    fn ok(folder: &Path, arguments: &[&str]) -> String {
        let output = dflow(folder, arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && errors.is_empty(), "dflow {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ends with `code`, says each of `words` on stderr, and what on stdout is given back.
    fn says(folder: &Path, code: i32, words: &[&str], arguments: &[&str]) -> String {
        let output = dflow(folder, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "dflow {arguments:?}: {errors}");
        for word in words {
            assert!(errors.contains(word), "dflow {arguments:?}: \"{errors}\" does not say {word}");
        }
        String::from_utf8(output.stdout).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names.into_iter().map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn dflow_writes_and_reads_every_token_file_kind() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, at) = (folder.path(), |name: &str| folder.path().join(name));
        for ending in ["json", "dft", "dftpack"] {
            let tokens = format!("t.{ending}");
            let plain = ["generate", "1", "--no-provenance", "--seed", "3", "-o", "a.png", "--tokens-out", &tokens];
            let said = ok(folder, &plain);
            assert_eq!(said, format!("a.png\n{tokens}\n"));
            // By content: another name is as good.
            std::fs::rename(at(&tokens), at("tokens")).unwrap();
            ok(folder, &["decode", "tokens", "-o", "b.png"]);
            assert_eq!(std::fs::read(at("a.png")).unwrap(), std::fs::read(at("b.png")).unwrap(), "{ending}");
            ok(folder, &["decode", "tokens", "--level", "16", "-o", "c.png"]);
            assert_eq!(image::image_dimensions(at("c.png")).unwrap(), (16, 16));
            ok(folder, &["encode", "a.png", "-o", &tokens]);
            ok(folder, &["decode", &tokens, "-o", "{class}-{seed}.png"]);
            assert!(at("picture-none.png").is_file());
        }
        let bundle = Bundle::open(common::small()).unwrap();
        ok(folder, &["generate", "1", "--seed", "3", "--level", "16", "-o", "a.png", "--tokens-out", "t.dft"]);
        let (dft, soundness) = Dft::open(at("t.dft")).unwrap();
        assert_eq!((dft.class, dft.seed, soundness.promised), (Some(1), Some(3), dft.tokens.len()));
        assert_eq!(bundle.geometry(), dft.geometry);
        ok(folder, &["decode", "t.dft", "-o", "{class}_{seed}.png"]);
        assert!(at(&format!("{}_3.png", bundle.classes()[1])).is_file());

        // Several in a pack, by name or number; not in a .dft, and that is said before the work.
        ok(folder, &["generate", "all", "--count", "2", "-o", "s.png", "--tokens-out", "all.dftpack"]);
        let pack = Pack::open(at("all.dftpack")).unwrap();
        assert_eq!(pack.len() as usize, 2 * bundle.classes().len());
        let name = format!("{}-1", bundle.classes()[2]);
        let number = pack.find(&name).unwrap().unwrap();
        ok(folder, &["decode", "all.dftpack", "--entry", &name, "-o", "one.png"]);
        ok(folder, &["decode", "all.dftpack", "--entry", &number.to_string(), "-o", "two.png"]);
        ok(folder, &["decode", "all.dftpack", "-o", "{index}.png"]);
        let bytes = |name: &str| std::fs::read(at(name)).unwrap();
        assert_eq!(bytes("one.png"), bytes("two.png"));
        assert_eq!(bytes("one.png"), bytes(&format!("{number}.png")));
        says(folder, 2, &["no entry \"soup\""], &["decode", "all.dftpack", "--entry", "soup", "-o", "x.png"]);
        says(folder, 2, &["no entry \"9999\""], &["decode", "all.dftpack", "--entry", "9999", "-o", "x.png"]);
        says(
            folder,
            2,
            &["x.dft: a .dft file holds one picture", "not 2"],
            &["generate", "0", "--count", "2", "--tokens-out", "x.dft"],
        );
        assert!(!at("x.dft").exists() && !at("x.png").exists());
    }

    #[test]
    fn dflow_decodes_and_repairs_damaged_files() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, at) = (folder.path(), |name: &str| folder.path().join(name));
        ok(folder, &["generate", "2", "--seed", "8", "-o", "a.png", "--tokens-out", "t.dft"]);
        let bytes = std::fs::read(at("t.dft")).unwrap();
        let (dft, _) = Dft::decode(&bytes).unwrap();
        let end = ends(&dft)[1];
        std::fs::write(at("cut.dft"), &bytes[..end + 1]).unwrap();
        let words = ["cut.dft", "cut off after", "the first 8 of 16 tokens are sound"];
        let said = says(folder, 1, &words, &["decode", "cut.dft", "-o", "b.png"]);
        assert_eq!(said, "b.png\n", "and the picture is there");
        let sound = Dft { tokens: dft.tokens[..8].to_vec(), ..dft.clone() };
        sound.save(at("sound.dft")).unwrap();
        ok(folder, &["decode", "sound.dft", "-o", "c.png"]);
        assert_eq!(std::fs::read(at("b.png")).unwrap(), std::fs::read(at("c.png")).unwrap());

        // Its own seed gives what it was, another keeps what is sound; a sound file is copied.
        let read = |name: &str| Dft::open(at(name)).unwrap().0;
        assert_eq!(ok(folder, &["repair", "cut.dft", "-o", "whole.dft"]), "whole.dft\n");
        assert_eq!(std::fs::read(at("whole.dft")).unwrap(), bytes);
        ok(folder, &["repair", "cut.dft", "--seed", "9", "-o", "other.dft"]);
        assert!(read("other.dft").tokens.starts_with(&sound.tokens) && read("other.dft").seed == Some(9));
        assert_ne!(read("other.dft").tokens, dft.tokens);
        ok(folder, &["repair", "t.dft", "-o", "same.dft"]);
        assert_eq!(std::fs::read(at("same.dft")).unwrap(), bytes);
        ok(folder, &["repair", "sound.dft", "--level", "32", "-o", "on.dft"]);
        assert_eq!(read("on.dft"), dft);
        ok(folder, &["generate", "2", "--temperature", "3", "-o", "a.png", "--tokens-out", "bold.dft"]);
        let bold = std::fs::read(at("bold.dft")).unwrap();
        std::fs::write(at("bold.dft"), &bold[..end]).unwrap();
        ok(folder, &["repair", "bold.dft", "--temperature", "3", "-o", "again.dft"]);
        assert_eq!(std::fs::read(at("again.dft")).unwrap(), bold);
        says(folder, 2, &["levels are"], &["repair", "cut.dft", "--level", "7", "-o", "x.dft"]);
        Dft { class: None, ..sound }.save(at("unsaid.dft")).unwrap();
        let unsaid = std::fs::read(at("unsaid.dft")).unwrap();
        std::fs::write(at("unsaid.dft"), &unsaid[..unsaid.len() - 1]).unwrap();
        says(folder, 2, &["unsaid.dft", "--class"], &["repair", "unsaid.dft", "-o", "x.dft"]);
        ok(folder, &["repair", "unsaid.dft", "--class", "2", "-o", "said.dft"]);
        assert_eq!(read("said.dft").tokens, dft.tokens[..8]);

        // Nothing that is sound, and nothing that belongs here.
        std::fs::write(at("none.dft"), &bytes[..HEADER]).unwrap();
        says(folder, 1, &["none of 16 tokens is sound"], &["decode", "none.dft", "-o", "x.png"]);
        ok(folder, &["repair", "none.dft", "-o", "again.dft"]);
        assert_eq!(read("again.dft"), dft);
        for (size, word) in [(31, "cut off within the header"), (2, "not a token file"), (0, "not a token file")] {
            std::fs::write(at("none.dft"), &bytes[..size]).unwrap();
            says(folder, 1, &["none.dft", word], &["decode", "none.dft", "-o", "x.png"]);
            says(folder, 1, &["none.dft", word], &["repair", "none.dft", "-o", "x.dft"]);
        }
        Dft { tokenizer: TokenizerId([0xab; 8]), ..dft }.save(at("foreign.dft")).unwrap();
        let id = Bundle::open(common::small()).unwrap().tokenizer_id().to_owned();
        says(folder, 1, &["abababababababab", &id, "--force"], &["decode", "foreign.dft", "-o", "x.png"]);
        says(folder, 1, &["abababababababab", &id], &["repair", "foreign.dft", "-o", "x.dft"]);
        assert!(!at("x.png").exists() && !at("x.dft").exists());
        ok(folder, &["decode", "foreign.dft", "--force", "-o", "x.png"]);
    }

    #[test]
    fn dflow_pack_creates_lists_and_extracts() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, at) = (folder.path(), |name: &str| folder.path().join(name));
        std::fs::create_dir(at("in")).unwrap();
        ok(folder, &["generate", "0", "-o", "0.png", "--tokens-out", "in/a.dft"]);
        ok(folder, &["generate", "1", "-o", "0.png", "--tokens-out", "in/b.dft"]);
        ok(folder, &["generate", "all", "-o", "0.png", "--tokens-out", "all.json"]);
        ok(folder, &["encode", "0.png", "-o", "c.json"]);
        assert_eq!(ok(folder, &["pack", "in/a.dft", "in/b.dft", "c.json", "-o", "one.dftpack"]), "one.dftpack\n");
        ok(folder, &["pack", "one.dftpack", "all.json", "-o", "two.dftpack"]);
        let bundle = Bundle::open(common::small()).unwrap();
        let id = bundle.tokenizer_id();
        let list = ok(folder, &["unpack", "two.dftpack", "--list"]);
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(lines.len(), 3 + bundle.classes().len());
        assert_eq!(lines[0], format!("0\ta\t16/16\t0\t0\t{id}"));
        assert_eq!(lines[2], format!("2\tc\t16/16\t-\t-\t{id}"));
        assert_eq!(lines[3], format!("3\t{}-0\t16/16\t0\t0\t{id}", bundle.classes()[0]));

        let said = ok(folder, &["unpack", "one.dftpack"]);
        assert_eq!(said, "one/a.dft\none/b.dft\none/c.dft\n");
        for name in ["a", "b"] {
            let read = |folder: &str| std::fs::read(at(&format!("{folder}/{name}.dft"))).unwrap();
            assert_eq!(read("in"), read("one"));
        }
        ok(folder, &["pack", "in/a.dft", "--paths", "-o", "paths.dftpack"]);
        assert_eq!(Pack::open(at("paths.dftpack")).unwrap().name(0).unwrap().unwrap(), "in/a");

        // Names that are no files' names, and two that would be one file.
        let dft = Dft::open(at("in/a.dft")).unwrap().0;
        let mut pack = PackWriter::create(at("odd.dftpack")).unwrap();
        for name in [Some("../../x"), Some(".._.._x"), Some("A"), Some("a"), Some("a.4"), None, Some(&*"n".repeat(255))]
        {
            pack.add(name, &dft).unwrap();
        }
        pack.finish().unwrap();
        ok(folder, &["unpack", "odd.dftpack", "-o", "deep/out"]);
        let expected = [".._.._x.1.dft", ".._.._x.dft", "5.dft", "6.dft", "A.dft", "a.3.dft", "a.4.dft"];
        assert_eq!(names(&at("deep/out")), expected);

        // What does not go in.
        std::fs::write(at("cut.dft"), &dft.encode().unwrap()[..40]).unwrap();
        says(folder, 1, &["cut.dft", "repair it with"], &["pack", "in/a.dft", "cut.dft", "-o", "x.dftpack"]);
        says(
            folder,
            1,
            &["one/a.dft", "\"a\" is taken by entry 0"],
            &["pack", "in/a.dft", "one/a.dft", "-o", "x.dftpack"],
        );
        says(folder, 1, &["not found", "absent.dft"], &["pack", "absent.dft", "-o", "x.dftpack"]);
        says(folder, 1, &["not a pack"], &["unpack", "in/a.dft", "-o", "x.dftpack"]);
        std::fs::copy(at("one.dftpack"), at("bare")).unwrap();
        says(folder, 2, &["-o"], &["unpack", "bare"]);
        assert!(!at("x.dftpack").exists());
    }

    #[test]
    fn dflow_pack_salvages_damaged_packs() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, at) = (folder.path(), |name: &str| folder.path().join(name));
        ok(folder, &["generate", "0", "--count", "3", "-o", "0.png", "--tokens-out", "p.dftpack"]);
        let bytes = std::fs::read(at("p.dftpack")).unwrap();
        let found = salvaged(&bytes);
        let class = Bundle::open(common::small()).unwrap().classes()[0].clone();

        // A group of the first, the head of the second.
        let mut damaged = bytes.clone();
        damaged[found[1].at as usize - 1] ^= 1;
        damaged[found[1].at as usize + 5] ^= 1;
        std::fs::write(at("p.dftpack"), &damaged).unwrap();
        let words =
            ["entry 0: damaged in group 3", "the first 12 of 16", "the header of entry 1 in the pack is damaged"];
        let said = says(folder, 1, &words, &["unpack", "p.dftpack", "-o", "out"]);
        assert_eq!(said, format!("out/{class}-0.dft\nout/{class}-2.dft\n"));
        assert_eq!(says(folder, 1, &words, &["unpack", "p.dftpack", "--list"]).lines().count(), 2);
        says(folder, 1, &words, &["decode", "p.dftpack", "-o", "{class}-{seed}.png"]);
        assert!(at(&format!("{class}-0.png")).is_file() && at(&format!("{class}-2.png")).is_file());

        // Cut within the last.
        let end = found[2].at as usize + 16 + format!("{class}-2").len() + found[2].dft.encode().unwrap().len();
        std::fs::write(at("p.dftpack"), &damaged[..end - 3]).unwrap();
        says(folder, 1, &["p.dftpack", "truncated or damaged", "salvage"], &["unpack", "p.dftpack", "-o", "none"]);
        assert!(!at("none").exists());
        let said = says(folder, 1, &["entry 2: cut off"], &["unpack", "p.dftpack", "--salvage", "-o", "left"]);
        assert_eq!(said, format!("left/{class}-0.dft\nleft/lost-1.dft\nleft/{class}-2.dft\n"));
        assert_eq!(Dft::open(at("left/lost-1.dft")).unwrap().0, found[1].dft);
    }
}
