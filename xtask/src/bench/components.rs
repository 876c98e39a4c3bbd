//! Components that differ from one another in nothing but their bytes. It knows the outermost framing of a component.

/// The number of a custom section: engines skip it.
const CUSTOM_SECTION: u8 = 0;
const SECTION_NAME: &[u8] = b"roadstead-bench";

/// The same component with one more custom section, so that its digest is another for each `number`.
pub(crate) fn variant(component: &[u8], number: u32) -> Vec<u8> {
    let mut content = leb128(SECTION_NAME.len());
    content.extend_from_slice(SECTION_NAME);
    content.extend_from_slice(&number.to_le_bytes());
    let mut bytes = component.to_vec();
    bytes.push(CUSTOM_SECTION);
    bytes.extend(leb128(content.len()));
    bytes.extend(content);
    bytes
}

/// An unsigned number as WebAssembly writes it.
fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_the_component_and_a_section() {
        let bytes = variant(b"\0asm", 7);
        let mut wanted = b"\0asm\x00\x14\x0froadstead-bench".to_vec();
        wanted.extend([7, 0, 0, 0]);
        assert_eq!(bytes, wanted);
        assert_ne!(variant(b"", 1), variant(b"", 2));
    }

    #[test]
    fn long_numbers_take_more_bytes() {
        assert_eq!(leb128(0), [0]);
        assert_eq!(leb128(127), [0x7f]);
        assert_eq!(leb128(128), [0x80, 1]);
        assert_eq!(leb128(624_485), [0xe5, 0x8e, 0x26]);
    }
}
