//! `tokenize`: converts text to token ids.

use engine::load_tokenizer;
use model::{EncodeOptions, SpecialTokens};
use serde_json::json;

use crate::flags::TokenizeArgs;
use crate::output;

/// Prints the ids of a text, one per line with the token's text, or as a JSON object.
pub(crate) fn run(args: &TokenizeArgs) -> anyhow::Result<()> {
    let tokenizer = load_tokenizer(&args.model)?;
    let options = EncodeOptions { add_special: args.add_special, parse_special: !args.no_parse_special };
    let tokens = tokenizer.encode(&args.text, options);
    if args.json {
        output::print(&format!("{}\n", json!({ "tokens": tokens })))?;
        return Ok(());
    }
    for token in tokens {
        let piece = tokenizer.piece(token, SpecialTokens::Show);
        if !output::print(&format!("{token:>8}  {:?}\n", String::from_utf8_lossy(&piece)))? {
            break;
        }
    }
    Ok(())
}
