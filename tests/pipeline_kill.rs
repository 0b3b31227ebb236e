//! Jobs that are killed, stopped, or out of space: `dflow batch` goes on, and the files are those of an undisturbed run.

mod common;
#[path = "common/programs.rs"]
mod programs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use common::{Random, dflow};
use programs::skip;

/// A job of `count` pictures for each of the two classes, with one file at two levels for some, and selection for others.
fn write_job(folder: &Path, count: u64) -> PathBuf {
    let job = folder.join("job.toml");
    let (most, few) = (count - count / 5, count / 5);
    let text = format!(
        "[[row]]\nclass = \"all\"\ncount = {most}\nseed = 7\n\
         [[row]]\nclass = 0\ncount = {few}\nseed = 1000000\nlevel = [16, 32]\n\
         output = \"levels/{{seed}}_{{level}}.png\"\nguidance = \"1.0@4,2.5@12\"\n\
         [[row]]\nclass = 1\ncount = {few}\nseed = 2000000\ntemperature = 0.8\nselect = {{ best = {} }}\n",
        (few / 3).max(1)
    );
    std::fs::write(&job, text).unwrap();
    job
}

fn batch(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = dflow(folder);
    command.args(["batch", "job.toml", "-o", "out"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finish(folder: &Path, arguments: &[&str]) -> Output {
    batch(folder, arguments).output().unwrap()
}

fn succeed(folder: &Path, arguments: &[&str]) {
    let output = finish(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every file of a folder but the state of the job and its times.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    common::tree(folder, &[".dflow-batch", "timings.json"])
}

/// Says what is different.
fn assert_same(found: &BTreeMap<PathBuf, Vec<u8>>, wanted: &BTreeMap<PathBuf, Vec<u8>>, after: &str) {
    let missing: Vec<_> = wanted.keys().filter(|path| !found.contains_key(*path)).take(5).collect();
    let more: Vec<_> = found.keys().filter(|path| !wanted.contains_key(*path)).take(5).collect();
    let other: Vec<_> = found.iter().filter(|(path, bytes)| wanted.get(*path).is_some_and(|w| w != *bytes)).collect();
    let other: Vec<_> = other.iter().map(|(path, _)| path).take(5).collect();
    assert!(
        missing.is_empty() && more.is_empty() && other.is_empty(),
        "{after}: missing {missing:?}, too many {more:?}, different {other:?}"
    );
}

/// Kills a job so often at random moments, spread over its course, and lets it finish.
fn kill_often(count: u64, kills: u32, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    write_job(folder.path(), count);
    succeed(folder.path(), &[]);
    let wanted = tree(&folder.path().join("out"));
    std::fs::rename(folder.path().join("out"), folder.path().join("undisturbed")).unwrap();
    let spool = |out: &str| {
        let path = folder.path().join(out).join(".dflow-batch/spool");
        std::fs::metadata(path).map_or(0, |metadata| metadata.len())
    };
    let all = spool("undisturbed");
    let mut random = Random(seed);
    let mut killed = 0;
    for kill in 0..kills {
        // Each is killed when it has got further by about its share; the last ones while they assemble.
        let target = (all * u64::from(kill) + random.below(all as usize) as u64) / u64::from(kills);
        let mut child = batch(folder.path(), &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while spool("out") < target && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if child.try_wait().unwrap().is_none() {
            // SIGKILL on Unix.
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
    }
    println!("{killed} of {kills} runs were killed; {} of {all} bytes of the spool were done", spool("out"));
    assert!(killed * 2 >= kills, "{killed} of {kills} runs were killed");
    succeed(folder.path(), &[]);
    assert_same(&tree(&folder.path().join("out")), &wanted, "after kills");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("out/.dflow-batch/part")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn job_killed_at_random_moments_gives_the_files_of_an_undisturbed_run() {
    kill_often(150, 8, 1);
}

/// `cargo test --release --features cli --test pipeline_kill -- --ignored --nocapture two_hundred`
#[test]
#[ignore = "takes many minutes"]
fn two_hundred_kills_of_five_thousand_pictures() {
    kill_often(2273, 200, 2);
}

#[test]
fn shards_killed_and_run_again_assemble_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    write_job(folder.path(), 60);
    succeed(folder.path(), &[]);
    let wanted = tree(&folder.path().join("out"));
    std::fs::remove_dir_all(folder.path().join("out")).unwrap();
    let mut running: Vec<Child> =
        ["1/3", "3/3"].map(|shard| batch(folder.path(), &["--shard", shard]).spawn().unwrap()).into();
    std::thread::sleep(Duration::from_millis(700));
    running[0].kill().unwrap();
    for child in &mut running {
        child.wait().unwrap();
    }
    succeed(folder.path(), &["--shard", "1/3"]);
    assert!(!folder.path().join("out/tokens.dftpack").exists(), "a shard makes no pack of its own");
    succeed(folder.path(), &[]);
    assert_same(&tree(&folder.path().join("out")), &wanted, "after shards");
}

#[test]
fn second_process_on_one_folder_says_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    write_job(folder.path(), 400);
    let mut first = batch(folder.path(), &[]).spawn().unwrap();
    let owner = folder.path().join("out/.dflow-batch/owner");
    while !owner.exists() {
        assert!(first.try_wait().unwrap().is_none(), "the first run has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = finish(folder.path(), &[]);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains("is being filled by") && text.contains(&format!("process {}", first.id())), "{text}");
    // Another job.
    std::fs::write(folder.path().join("job.toml"), "[[row]]\nclass = 0\n").unwrap();
    let other = finish(folder.path(), &[]);
    let text = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.code() == Some(1) && text.contains("another job"), "{text}");
}

#[test]
fn unwritable_file_is_listed_and_the_next_run_completes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("job.toml"), "[[row]]\nclass = 0\ncount = 9\noutput = \"{seed}.png\"\n").unwrap();
    std::fs::create_dir_all(folder.path().join("out/4.png/inside")).unwrap();
    let output = finish(folder.path(), &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("1 pictures failed"), "{text}");
    let report = |key: &str| -> serde_json::Value {
        let text = std::fs::read(folder.path().join("out/report.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()[key].clone()
    };
    assert_eq!((report("written"), report("failed")), (8.into(), 1.into()));
    assert_eq!((&report("failures")[0]["seed"], &report("failures")[0]["files"][0]), (&4.into(), &"4.png".into()));
    std::fs::remove_dir_all(folder.path().join("out/4.png")).unwrap();
    succeed(folder.path(), &[]);
    assert_eq!((report("written"), report("failed"), report("failures")), (9.into(), 0.into(), serde_json::json!([])));
    assert!(folder.path().join("out/4.png").is_file());
}

#[test]
fn wrong_rows_are_left_out_or_stop_a_strict_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[[row]]\nclass = 0\ncount = 2\n[[row]]\nclass = \"no such\"\n";
    std::fs::write(folder.path().join("job.toml"), text).unwrap();
    let strict = finish(folder.path(), &["--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(!folder.path().join("out").exists());
    let output = finish(folder.path(), &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && text.contains("job.toml:5") && text.contains("1 rows"), "{text}");
    let files = tree(&folder.path().join("out"));
    assert_eq!(
        files.keys().filter(|path| path.components().count() == 2 && !path.starts_with("index_files")).count(),
        2
    );
    assert!(["tokens.dftpack", "report.json", "index.html"].iter().all(|name| files.contains_key(Path::new(name))));
}

#[cfg(unix)]
#[test]
fn control_c_keeps_what_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    write_job(folder.path(), 300);
    let child = batch(folder.path(), &[]).spawn().unwrap();
    let spool = folder.path().join("out/.dflow-batch/spool");
    while std::fs::metadata(&spool).map_or(0, |metadata| metadata.len()) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(130) && text.contains("pictures are done; the same command goes on"),
        "{text}"
    );
    let done = tree(&folder.path().join("out"));
    assert!(!done.is_empty());
    succeed(folder.path(), &[]);
    let whole = tree(&folder.path().join("out"));
    assert!(whole.len() > done.len() && done.iter().all(|(path, bytes)| whole[path] == *bytes));
}

/// A file system of a megabyte, unmounted at the end.
#[cfg(target_os = "linux")]
struct Small(PathBuf);

#[cfg(target_os = "linux")]
impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// New job files are run as they come, one that is wrong is reported, and Control-C ends it.
#[cfg(unix)]
#[test]
fn watch_runs_each_job_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs");
    std::fs::create_dir(&jobs).unwrap();
    std::fs::write(jobs.join("a.jsonl"), "{\"class\": 0, \"count\": 3}\n").unwrap();
    let mut command = dflow(folder.path());
    command.args(["batch", "--watch", "jobs", "-o", "out"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut wait_for = |path: &str| {
        while !folder.path().join(path).exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before {path}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for("out/a/report.json");
    std::fs::write(jobs.join("b.csv"), "class,soup\n1,2\n").unwrap();
    std::fs::write(jobs.join("c.csv"), "class\n1\n").unwrap();
    wait_for("out/c/report.json");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{errors}");
    assert!(errors.contains("b.csv:1") && errors.contains("soup") && !folder.path().join("out/b").exists(), "{errors}");
    let pictures = |job: &str| tree(&folder.path().join("out").join(job)).keys().filter(|path| is_png(path)).count();
    assert_eq!((pictures("a"), pictures("c")), (3, 1));
}

/// Whether it is a picture of a job, rather than a sheet of the page.
#[cfg(unix)]
fn is_png(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "png") && !path.starts_with("index_files")
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_stops_the_job_and_it_goes_on_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    write_job(folder.path(), 150);
    succeed(folder.path(), &[]);
    let wanted = tree(&folder.path().join("out"));
    std::fs::remove_dir_all(folder.path().join("out")).unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=600k", "tmpfs"]).arg(&out).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return skip("full_disk", "this user may not mount a file system (root is needed)");
    }
    let small = Small(out.clone());
    let output = finish(folder.path(), &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("No space left") && text.contains("the same command goes on when there is space"), "{text}");
    let again = finish(folder.path(), &[]);
    assert_eq!(again.status.code(), Some(1));
    let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&out).status().unwrap();
    assert!(grown.success());
    succeed(folder.path(), &[]);
    assert_same(&tree(&out), &wanted, "after a full disk");
    drop(small);
}
