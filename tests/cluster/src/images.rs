//! Images without a registry: a base by debootstrap, the rest by buildah, all under the names that a registry has.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use crate::{
    cluster::Cluster,
    paths,
    shell::{run, step},
    start::ctr,
};

/// What `FROM` lines name, made by debootstrap here.
pub const BASE: &str = "docker.io/library/debian:bookworm-slim";
/// Redis 7.0, Debian's.
pub const REDIS: &str = "docker.io/library/redis:7.0";
/// Redis 8.0, Debian's of the release after.
pub const REDIS_8: &str = "docker.io/library/redis:8.0";
/// What a worker in Python begins with, from Debian's packages: its layout is another than that of the image of this name, but
/// `python3` and `pip` do the same.
const PYTHON: &str = "docker.io/library/python:3.13-slim";
pub(crate) const PAUSE: &str = "docker.io/keystead/pause:1";
/// Where programs look for the authorities they trust.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An image as an archive in the cache.
#[derive(Clone, Debug)]
pub struct Image {
    pub name: String,
    archive: PathBuf,
    hash: String,
}

/// The images that a cluster begins with.
pub(crate) fn base_images() -> Result<Vec<Image>> {
    let base = debian("bookworm")?;
    let next = debian("trixie")?;
    let debian = "FROM scratch\nADD base.tar /\nCMD [\"bash\"]\n";
    let redis = "RUN apt-get update && apt-get install -y --no-install-recommends redis-server redis-sentinel redis-tools \
         && rm -rf /var/lib/apt/lists/*\nUSER 999\nWORKDIR /data\nCMD [\"redis-server\"]\n";
    // It only waits; whoever is asked to end, ends.
    let pause = "FROM scratch\nADD pause /pause\nENTRYPOINT [\"/pause\"]\n";
    Ok(vec![
        from_text(PAUSE, pause, &[("pause", pause_binary()?)])?,
        from_text(BASE, debian, &[("base.tar", base)])?,
        from_text(REDIS, &format!("FROM {BASE}\n{redis}"), &[])?,
        from_text(REDIS_8, &format!("FROM scratch\nADD base.tar /\n{redis}"), &[("base.tar", next)])?,
    ])
}

/// Makes the image that a Dockerfile for Python begins with, for `build`.
pub fn ensure_python() -> Result<()> {
    let install = "RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-pip \
         && rm -rf /var/lib/apt/lists/*\nENV PIP_BREAK_SYSTEM_PACKAGES=1\nCMD [\"python3\"]\n";
    let dockerfile = format!("FROM scratch\nADD base.tar /\n{install}");
    from_text(PYTHON, &dockerfile, &[("base.tar", debian("trixie")?)]).map(drop)
}

/// Builds an image from a Dockerfile; skipped where neither it nor `inputs` have changed.
pub fn build(
    name: &str,
    dockerfile: &Path,
    context: &Path,
    inputs: &[PathBuf],
    arguments: &[(&str, &str)],
) -> Result<Image> {
    let mut hash = Sha256::new();
    hash.update(fs::read(dockerfile)?);
    for input in inputs {
        hash.update(fs::read(input)?);
    }
    for (name, value) in arguments {
        hash.update(format!("{name}={value}\n"));
    }
    let image = image(name, &hex(&hash.finalize()));
    if !image.archive.exists() {
        step(&format!("image {name}"), || {
            let mut bud = buildah();
            bud.args(["bud", "--isolation", "chroot", "--tag", name, "--file"]).arg(dockerfile);
            // What this machine trusts, where its way to the package registries has an authority of its own.
            bud.args(["--volume", &format!("{AUTHORITIES}:{AUTHORITIES}:ro")]);
            for (name, value) in arguments {
                bud.arg("--build-arg").arg(format!("{name}={value}"));
            }
            run(bud.arg(context))?;
            export(&image)
        })?;
    }
    Ok(image)
}

/// Gives an image to the cluster, unless it has it.
pub fn load(cluster: &Cluster, image: &Image) -> Result<()> {
    let known = paths::cache().join("containerd/imported").join(image.name.replace(['/', ':'], "_"));
    let names = run(ctr(cluster).args(["images", "ls", "-q"]))?;
    let there = names.lines().any(|name| name == image.name);
    if there && fs::read_to_string(&known).is_ok_and(|hash| hash == image.hash) {
        return Ok(());
    }
    step(&format!("loading {}", image.name), || {
        run(ctr(cluster).args(["images", "import"]).arg(&image.archive))?;
        fs::create_dir_all(known.parent().unwrap_or(Path::new("/")))?;
        Ok(fs::write(&known, &image.hash)?)
    })
}

fn from_text(name: &str, dockerfile: &str, files: &[(&str, PathBuf)]) -> Result<Image> {
    let context = paths::cache().join("images/context").join(name.replace(['/', ':'], "_"));
    fs::create_dir_all(&context)?;
    let path = context.join("Dockerfile");
    fs::write(&path, dockerfile)?;
    let image = image(name, &hex(&Sha256::digest(dockerfile)));
    if !image.archive.exists() {
        for (file, source) in files {
            fs::copy(source, context.join(file))?;
        }
        build_at(&image, &context)?;
    }
    fs::remove_dir_all(&context)?;
    Ok(image)
}

fn build_at(image: &Image, context: &Path) -> Result<()> {
    step(&format!("image {}", image.name), || {
        run(buildah().args(["bud", "--isolation", "chroot", "--tag", &image.name]).arg(context))?;
        export(image)
    })
}

fn image(name: &str, hash: &str) -> Image {
    let file = format!("{}-{}.tar", name.replace(['/', ':'], "_"), &hash[..16]);
    Image { name: name.to_owned(), archive: paths::cache().join("images").join(file), hash: hash.to_owned() }
}

fn export(image: &Image) -> Result<()> {
    let part = image.archive.with_extension("part");
    let _ = fs::remove_file(&part);
    run(buildah().args(["push", &image.name]).arg(format!("oci-archive:{}:{}", part.display(), image.name)))?;
    Ok(fs::rename(part, &image.archive)?)
}

fn buildah() -> Command {
    let mut command = Command::new("buildah");
    command.arg("--root").arg(paths::cache().join("containers"));
    command.args(["--runroot", "/run/keystead-buildah", "--storage-driver", "overlay"]);
    command
}

/// A release of Debian as debootstrap makes it, from the mirror that this machine uses.
fn debian(release: &str) -> Result<PathBuf> {
    let images = paths::cache().join("images");
    let archive = images.join(format!("debian-{release}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    fs::create_dir_all(&images)?;
    step(&format!("debootstrap of Debian {release}"), || {
        let root = images.join("rootfs");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        run(Command::new("debootstrap")
            .args(["--variant=minbase", "--include=ca-certificates", release])
            .arg(&root)
            .arg(mirror()))?;
        run(Command::new("sh")
            .arg("-c")
            .arg("rm -rf \"$1\"/var/cache/apt/archives/*.deb \"$1\"/var/lib/apt/lists/*")
            .arg("sh")
            .arg(&root))?;
        let part = archive.with_extension("part");
        run(Command::new("tar").arg("-C").arg(&root).args(["--numeric-owner", "-cf"]).arg(&part).arg("."))?;
        fs::rename(&part, &archive)?;
        Ok(fs::remove_dir_all(&root)?)
    })?;
    Ok(archive)
}

fn mirror() -> String {
    let sources = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    let text: String = sources.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with("http") && word.contains("debian"));
    words.next().unwrap_or("http://deb.debian.org/debian").to_owned()
}

/// A program that waits for a signal, in Go, because a compiler of it is there.
fn pause_binary() -> Result<PathBuf> {
    let binary = paths::cache().join("images/pause");
    if !binary.exists() {
        let source = paths::cache().join("images/pause-source");
        fs::create_dir_all(&source)?;
        fs::write(source.join("go.mod"), "module pause\n\ngo 1.24\n")?;
        fs::write(
            source.join("main.go"),
            "package main\n\nimport (\n\t\"os\"\n\t\"os/signal\"\n\t\"syscall\"\n)\n\nfunc main() {\n\
             \tended := make(chan os.Signal, 1)\n\tsignal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)\n\t<-ended\n}\n",
        )?;
        run(Command::new("go")
            .current_dir(&source)
            .env("CGO_ENABLED", "0")
            .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
            .arg(&binary)
            .arg("."))?;
        fs::remove_dir_all(&source)?;
    }
    Ok(binary)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
