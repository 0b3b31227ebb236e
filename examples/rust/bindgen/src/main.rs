// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program does with the library: the scenario of examples/README.md, with declarations that bindgen makes from
//! `detailflow.h`.

mod detailflow;

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use detailflow::{Event, Generation, Model, Picture, Request, Result, Worker, array, c, check, sized};

const JOBS: u32 = 4;
const MANY: u32 = 64;

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// 1. What the model is.
fn describe(model: &Model) -> Result<()> {
    let info = model.info()?;
    // SAFETY: a string that lives as long as the model.
    let name = unsafe { CStr::from_ptr(info.name) }.to_string_lossy();
    println!("model {name}: {} px, {} tokens, {} classes", info.image_size, info.token_count, info.class_count);
    for at in 0..info.level_count {
        let level = model.level(at)?;
        println!("level {} px: {} tokens", level.level_size, level.token_count);
    }
    Ok(())
}

/// 2. An error, as a program shows it.
fn provoke_an_error(model: &Model) {
    if let Err(error) = model.find_class("no such class") {
        println!("error {error}");
    }
}

fn request(model: &Model, class: u32, seed: u64, images: u32) -> Result<Request> {
    // SAFETY: handles that are alive.
    unsafe {
        let request = Request::from(|request| c::detailflow_request_new(model.get(), request))?;
        check(c::detailflow_request_set_class(request.get(), class))?;
        check(c::detailflow_request_set_seed(request.get(), seed))?;
        check(c::detailflow_request_set_image_count(request.get(), images))?;
        Ok(request)
    }
}

/// 3. One picture step by step; each level is shown when it is complete. Returns its tokens.
fn draw(model: &Model, class: u32, seed: u64) -> Result<Vec<u32>> {
    let mut generation = Generation::new(&request(model, class, seed, 1)?)?;
    let mut shown = 0;
    loop {
        let progress = generation.step()?;
        if progress.level_size > shown {
            let mut picture = Picture::new(progress.level_size);
            generation.decode_level(&mut picture)?;
            println!("drawn {} px {:016x}", picture.side, hash(&picture.pixels));
            shown = progress.level_size;
        }
        if progress.steps_left == 0 {
            break;
        }
    }
    let tokens = generation.tokens()?;
    println!("tokens {}", tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    Ok(tokens)
}

/// 4. A token file in memory, and the picture from it.
fn round_trip(model: &Model, tokens: &[u32], class: u32, seed: u64) -> Result<()> {
    let mut info = sized!(detailflow_dft_info);
    // SAFETY: lengths are those of the slices, and the struct has its size.
    let (file, back) = unsafe {
        let file = array(|data: *mut u8, capacity, size| {
            let (model, length) = (model.get(), tokens.len());
            c::detailflow_dft_encode(model, tokens.as_ptr(), length, class, &seed, data.cast(), capacity, size)
        })?;
        let (data, size) = (file.as_ptr().cast(), file.len());
        check(c::detailflow_dft_get_info(data, size, &mut info, ptr::null_mut()))?;
        let back = array(|tokens, capacity, count| {
            c::detailflow_dft_get_tokens(data, size, tokens, capacity, count, ptr::null_mut())
        })?;
        (file, back)
    };
    let (bytes, hashed, class, seed) = (file.len(), hash(&file), info.class_index, info.seed);
    println!("file {bytes} bytes {hashed:016x}: class {class}, seed {seed}, {} tokens", back.len());
    let mut picture = Picture::new(model.info()?.image_size);
    model.decode(&back, &mut picture)?;
    println!("decoded {} px {:016x}", picture.side, hash(&picture.pixels));
    Ok(())
}

/// 5. Another thread cancels what this one draws; the tokens so far are kept.
fn cancel(model: &Model) -> Result<()> {
    let mut generation = Generation::new(&request(model, 0, 0, MANY)?)?;
    let stop = generation.cancel_handle()?;
    generation.step()?;
    // SAFETY: the handle is alive; the error may be NULL.
    let stopping =
        std::thread::spawn(move || check(unsafe { c::detailflow_cancel_trigger(stop.get(), ptr::null_mut()) }));
    let ended = loop {
        match generation.step() {
            Ok(progress) if progress.steps_left > 0 => {}
            Ok(_) => break "DETAILFLOW_STATUS_OK",
            Err(error) => break error.name(),
        }
    };
    stopping.join().expect("it does not panic")?;
    let kept = generation.progress()?.token_count > 0;
    println!("cancelled {ended}: {}", if kept { "tokens are kept" } else { "no tokens" });
    Ok(())
}

fn worker() -> Result<Worker> {
    // SAFETY: options and error may be NULL.
    Worker::from(|worker| unsafe { c::detailflow_worker_new(ptr::null(), worker, ptr::null_mut()) })
}

fn submit(worker: &Worker, request: &Request, user: u64, flags: c::detailflow_submit_flag) -> Result<()> {
    // SAFETY: handles that are alive; the number of the job may be NULL.
    check(unsafe { c::detailflow_worker_submit(worker.get(), request.get(), user, flags, ptr::null_mut()) })
}

fn pending(worker: &Worker) -> Result<usize> {
    let mut count = 0;
    // SAFETY: a number to fill.
    check(unsafe { c::detailflow_worker_get_pending(worker.get(), &mut count) })?;
    Ok(count)
}

/// 6. Jobs of a worker; its events are polled.
fn work(model: &Model) -> Result<()> {
    let worker = worker()?;
    for at in 0..JOBS {
        submit(&worker, &request(model, at, at.into(), 1)?, at.into(), c::DETAILFLOW_SUBMIT_FLAG_DECODE)?;
    }
    let mut lines = Vec::new();
    while pending(&worker)? > 0 {
        // SAFETY: NULL when there is no event, and then nothing is done with it.
        let event = Event::from(|event| unsafe { c::detailflow_worker_poll(worker.get(), event) })?;
        if event.get().is_null() {
            std::thread::yield_now();
            continue;
        }
        let mut info = sized!(detailflow_event_info);
        // SAFETY: the struct has its size.
        check(unsafe { c::detailflow_event_get_info(event.get(), &mut info, ptr::null_mut()) })?;
        check(info.status)?;
        // The last event of a job repeats its last level.
        if info.kind == c::DETAILFLOW_EVENT_KIND_LEVEL {
            let mut picture = Picture::new(info.level_size);
            let mut image = picture.image();
            // SAFETY: the size is that of the picture's memory.
            check(unsafe { c::detailflow_event_decode_level(event.get(), 0, &mut image, ptr::null_mut()) })?;
            lines.push(format!("job {}: {:4} px {:016x}", info.user, picture.side, hash(&picture.pixels)));
        }
    }
    // Jobs end in any order.
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// 7. The program ends while a worker draws.
fn quit(model: &Model) -> Result<()> {
    let worker = worker()?;
    submit(&worker, &request(model, 0, 0, MANY)?, 0, 0)?;
    println!("quit with {} job going on", pending(&worker)?);
    std::process::exit(0);
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // SAFETY: no arguments.
    if unsafe { c::detailflow_abi_version() } < c::DETAILFLOW_ABI_VERSION {
        return Err("libdetailflow is older than its header".into());
    }
    let path = std::env::args_os().nth(1).map(|path| CString::new(path.into_vec())).transpose()?;
    let model = Model::open(path.as_deref())?;
    describe(&model)?;
    provoke_an_error(&model);
    let potion = model.find_class("potion")?;
    let tokens = draw(&model, potion, 7)?;
    round_trip(&model, &tokens, potion, 7)?;
    cancel(&model)?;
    work(&model)?;
    Ok(quit(&model)?)
}
