//! Compiles the packet programs, if there is a clang for it. Without one the crate builds all the
//! same, and says at run time what it lacks.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let mut failure = None;
    for (source, object, flags) in [
        ("bpf/anycast.bpf.c", "anycast.o", &[][..]),
        ("bpf/anycast.bpf.c", "anycast-test.o", &["-DTEST_CLOCK"][..]),
        ("bpf/anycast.bpf.c", "anycast-bench.o", &["-DTEST_UNDO"][..]),
        ("bpf/pass.bpf.c", "pass.o", &[][..]),
    ] {
        let target = out.join(object);
        if let Err(why) = compile(&clang, Path::new(source), &target, flags) {
            // An empty object stands for "not there", so that `include_bytes!` finds a file.
            fs::write(&target, []).expect("OUT_DIR can be written");
            failure = Some(why);
        }
    }
    if let Some(why) = &failure {
        println!(
            "cargo::warning=the packet programs are not built in: {}",
            why.lines().next().unwrap_or_default()
        );
    }
    fs::write(out.join("failure.txt"), failure.unwrap_or_default())
        .expect("OUT_DIR can be written");
}

fn compile(clang: &str, source: &Path, target: &Path, flags: &[&str]) -> Result<(), String> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() != Ok("little") {
        return Err("the programs are for little-endian machines".to_owned());
    }
    let output = Command::new(clang)
        // The same octets are read as words of 16, 32 and 64 bits.
        .args(["-O2", "-g", "-target", "bpfel", "-mcpu=v3", "-fno-strict-aliasing"])
        .args(["-Wall", "-Werror"])
        // Where Debian keeps <asm/types.h>.
        .arg(format!("-I/usr/include/{arch}-linux-gnu"))
        .args(flags)
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(target)
        .output()
        .map_err(|error| {
            format!("{clang}: {error} (install clang and libbpf-dev, or set CLANG)")
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}
