//! How compiled code travels from the compiler child to its host: a mark, the length, the code, nothing after it.

use std::io::{self, Write};

use super::{CompileError, load::Artifact};

const MARK: [u8; 8] = *b"RSTDCODE";
const LENGTH_BYTES: usize = 8;
/// Bytes before the code.
pub(super) const HEADER_BYTES: usize = MARK.len() + LENGTH_BYTES;

/// Writes a frame.
pub(super) fn write(out: &mut impl Write, artifact: &Artifact) -> io::Result<()> {
    let code = artifact.as_bytes();
    out.write_all(&MARK)?;
    out.write_all(&(code.len() as u64).to_le_bytes())?;
    out.write_all(code)?;
    out.flush()
}

/// Reads what a child wrote before it ended.
pub(super) fn read(mut output: Vec<u8>) -> Result<Artifact, CompileError> {
    let garbage = |what: &str| CompileError::Garbage(what.into());
    let (mark, rest) = output.split_first_chunk::<{ MARK.len() }>().ok_or_else(|| garbage("it is too short"))?;
    let (length, code) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or_else(|| garbage("it is too short"))?;
    if *mark != MARK {
        return Err(garbage("it does not begin as it should"));
    }
    if u64::from_le_bytes(*length) != code.len() as u64 {
        return Err(garbage("it has not the length that it should have"));
    }
    output.drain(..HEADER_BYTES);
    Ok(Artifact::from_child(output))
}
