//! Files as they are published: plain, gzip, bzip2 or xz. What a file is shows its first octets,
//! whatever its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No file that we read is larger once it is unpacked: a relationship file has some 10 MB, a
/// table of a collector some 1 GB.
const MOST: u64 = 4 << 30;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {why}", path.display())]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// What the system or the unpacker says.
    pub why: io::Error,
}

/// All octets of a file, unpacked.
///
/// # Errors
/// It is not there or may not be read, it is damaged, or it has more than 4 GiB unpacked.
pub fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    read_octets(path).map_err(|why| OpenError { path: path.to_owned(), why })
}

fn read_octets(path: &Path) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut packed)?;
    unpack(packed)
}

/// Unpacks what is packed, and leaves the rest as it is.
///
/// # Errors
/// It is packed and damaged, or too large.
pub fn unpack(octets: Vec<u8>) -> io::Result<Vec<u8>> {
    match octets.as_slice() {
        [0x1f, 0x8b, ..] => drain(flate2::read::MultiGzDecoder::new(&*octets)),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => drain(bzip2::read::MultiBzDecoder::new(&*octets)),
        [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => {
            drain(lzma_rust2::XzReader::new(&*octets, true))
        }
        _ => Ok(octets),
    }
}

fn drain(from: impl Read) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    from.take(MOST + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MOST {
        return Err(io::Error::other("it has more than 4 GiB unpacked"));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"64501|64510|-1\n64502|64510|-1\n";
    /// `xz -9 --check=crc32` of [`TEXT`]'s first line.
    const XZ: &[u8] = include_bytes!("open/line.xz");

    #[test]
    fn a_file_is_known_by_its_octets_and_unpacked() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(TEXT).unwrap();
        let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip.write_all(TEXT).unwrap();
        let (gzip, bzip) = (gzip.finish().unwrap(), bzip.finish().unwrap());
        let twice = [gzip.clone(), gzip.clone()].concat();
        for (name, packed, want) in [
            ("plain", TEXT.to_vec(), TEXT.to_vec()),
            ("gzip", gzip, TEXT.to_vec()),
            ("gzip, two members", twice, [TEXT, TEXT].concat()),
            ("bzip2", bzip, TEXT.to_vec()),
            ("xz", XZ.to_vec(), b"64501|64510|-1\n".to_vec()),
            ("nothing", Vec::new(), Vec::new()),
        ] {
            assert_eq!(unpack(packed).unwrap(), want, "{name}");
        }
    }

    #[test]
    fn what_is_packed_and_cut_short_is_an_error() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(TEXT).unwrap();
        let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip.write_all(TEXT).unwrap();
        for packed in [gzip.finish().unwrap(), bzip.finish().unwrap(), XZ.to_vec()] {
            assert!(unpack(packed[..packed.len() - 12].to_vec()).is_err());
        }
    }
}
