//! From the character counts of the parser to byte offsets. Knows nothing of YAML.

/// Characters between two checkpoints.
const STRIDE: usize = 64;

/// Byte offsets of a text's characters: every 64th is kept, the ones between are counted.
pub(super) struct Offsets<'t> {
    text: &'t str,
    /// `None` where every character is one byte.
    checkpoints: Option<Vec<usize>>,
}

impl<'t> Offsets<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        if text.is_ascii() {
            return Self { text, checkpoints: None };
        }
        let checkpoints = text.char_indices().step_by(STRIDE).map(|(byte, _)| byte).collect();
        Self { text, checkpoints: Some(checkpoints) }
    }

    /// The byte offset of the character with this index; the text's end for an index past it.
    pub(super) fn byte(&self, index: usize) -> usize {
        let Some(checkpoints) = &self.checkpoints else { return index.min(self.text.len()) };
        let Some(start) = checkpoints.get(index / STRIDE) else { return self.text.len() };
        let rest = self.text.get(*start..).unwrap_or_default();
        rest.char_indices().nth(index % STRIDE).map_or(self.text.len(), |(byte, _)| start + byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_a_mixed_text() {
        let text = "aé→b".repeat(100);
        let offsets = Offsets::of(&text);
        for (index, (byte, _)) in text.char_indices().enumerate() {
            assert_eq!(offsets.byte(index), byte);
        }
        assert_eq!(offsets.byte(400), text.len());
        assert_eq!(offsets.byte(usize::MAX), text.len());
    }
}
