//! The way back: ids to bytes, bytes to characters.

use model::{SpecialTokens, TextDecoder, TokenId, Tokenizer};
use proptest::prelude::*;

use crate::fixtures::{NAMES, PARSED, PLAIN, build, byte_level, sentence_piece, tokenizer};

fn decode(tokenizer: &Tokenizer, ids: &[TokenId], special: SpecialTokens) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.piece(id, special).into_owned()).collect();
    String::from_utf8(bytes).expect("whole characters went in")
}

/// Texts of any characters, with the runs of white space, digits and quotes that cutting words is about.
fn any_text() -> impl Strategy<Value = String> {
    let word = prop_oneof!["[ \t\r\n\u{a0}\u{3000}]{1,4}", "[a-zA-Z]{1,8}", "'[a-zA-Z]{1,2}", "\\d{1,5}", "\\PC{1,4}"];
    prop_oneof![any::<String>(), proptest::collection::vec(word, 0..12).prop_map(|words| words.concat())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ids_decode_to_the_text_they_encode(text in any_text()) {
        for name in NAMES {
            let tokenizer = tokenizer(name);
            let decoded = decode(tokenizer, &tokenizer.encode(&text, PLAIN), SpecialTokens::Hide);
            let prefix = if tokenizer.pre_tokenizer().is_none() && !text.is_empty() { " " } else { "" };
            // SentencePiece cannot tell its own spelling of a space from a space.
            let spelled = if prefix.is_empty() { text.clone() } else { text.replace('▁', " ") };
            prop_assert_eq!(decoded, format!("{prefix}{spelled}"), "{}", name);
        }
    }

    #[test]
    fn parsed_special_tokens_show_as_they_were_written(text in any_text()) {
        let tokenizer = tokenizer("qwen2");
        let text = format!("<|im_start|>{text}<|im_end|>\n");
        let ids = tokenizer.encode(&text, PARSED);
        prop_assert_eq!(decode(tokenizer, &ids, SpecialTokens::Show), text);
    }

    #[test]
    fn a_decoder_says_what_lossy_utf8_says_however_the_bytes_arrive(
        pieces in proptest::collection::vec(proptest::collection::vec(awkward_byte(), 0..6), 0..12),
    ) {
        let mut decoder = TextDecoder::default();
        let mut text: String = pieces.iter().map(|piece| decoder.push(piece)).collect();
        text.push_str(&decoder.finish());
        let bytes = pieces.concat();
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_decoder_breaks_no_character(text in any::<String>(), len in 1usize..5) {
        let mut decoder = TextDecoder::default();
        let decoded: String = text.as_bytes().chunks(len).map(|piece| decoder.push(piece)).collect();
        prop_assert_eq!(decoded, text);
        prop_assert_eq!(decoder.finish(), "");
    }
}

/// Bytes at the edges of UTF-8's ranges.
fn awkward_byte() -> impl Strategy<Value = u8> {
    let edges = vec![0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xF5];
    prop_oneof![4 => proptest::sample::select(edges), 1 => any::<u8>()]
}

#[test]
fn pieces_are_spelled_by_kind() {
    let tokens = [("<unk>", 2), ("<s>", 3), ("▁<PRE▁>", 4), ("<0x0A>", 6), ("▁a▁b", 1), ("<0xZZ>", 6)];
    let tokenizer = build(&sentence_piece(&tokens));
    let pieces = |special| (0..6).map(|id| decode(&tokenizer, &[id], special)).collect::<Vec<_>>();
    assert_eq!(pieces(SpecialTokens::Hide), ["", "", "▁<PRE▁>", "\n", " a b", "<0xZZ>"]);
    assert_eq!(pieces(SpecialTokens::Show), ["<unk>", "<s>", "▁<PRE▁>", "\n", " a b", "<0xZZ>"]);

    let tokenizer = build(&byte_level(&[("Ġa", 1), ("Ġb", 4), ("Ã", 1), ("©", 1), ("中", 1)], &[]));
    assert_eq!(decode(&tokenizer, &[0, 1, 2, 3, 4], SpecialTokens::Hide), " aĠbé中");
}

#[test]
fn ids_past_the_vocabulary_are_nothing() {
    let tokenizer = tokenizer("gpt-2");
    let past = tokenizer.vocab_len() as TokenId;
    for id in [past, TokenId::MAX] {
        assert!(tokenizer.piece(id, SpecialTokens::Show).is_empty());
        assert_eq!(tokenizer.token_text(id), "");
        assert!(!tokenizer.is_end_of_generation(id));
    }
    assert!(!tokenizer.piece(past - 1, SpecialTokens::Show).is_empty());
}
