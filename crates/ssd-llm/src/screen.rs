//! Prints an answer while it is generated.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use engine::{Engine, Event, GenerateRequest, Generation};

use crate::progress::Progress;
use crate::{interrupt, output};

/// Generates an answer, and prints its text as it comes unless it is for a JSON object.
///
/// Errors: the request is refused, a pass fails, or standard output cannot be written.
pub(crate) fn generate(engine: &mut Engine, request: &GenerateRequest, json: bool) -> anyhow::Result<Generation> {
    let mut screen = Screen::new(json, &engine.loaded.bytes_read);
    let result = engine.run(request, &mut |event| screen.show(event));
    screen.progress.clear();
    let generation = result?;
    screen.finish()?;
    Ok(generation)
}

/// Prints text as it comes, and a progress line where that does not get in the way of the text.
struct Screen {
    json: bool,
    progress: Progress,
    /// Text and progress share a terminal, so the line is cleared when text comes.
    shared: bool,
    ends_with_newline: bool,
    error: Option<anyhow::Error>,
}

impl Screen {
    fn new(json: bool, bytes_read: &Arc<AtomicU64>) -> Screen {
        let shared = !json && std::io::stdout().is_terminal();
        Screen { json, progress: Progress::new(bytes_read), shared, ends_with_newline: false, error: None }
    }

    fn show(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Prefill { done, total } => self.progress.prefill(done, total),
            Event::Token { text, .. } => {
                if self.shared {
                    self.progress.clear();
                } else {
                    self.progress.token();
                }
                return self.text(text);
            }
            Event::Rest { text } => return self.text(text),
            Event::Interrupted => {}
        }
        stop_if(interrupt::asked())
    }

    fn text(&mut self, text: &str) -> ControlFlow<()> {
        if self.json || text.is_empty() {
            return stop_if(interrupt::asked());
        }
        self.ends_with_newline = text.ends_with('\n');
        match output::print(text) {
            Ok(open) => stop_if(!open || interrupt::asked()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Ends the last line, so that neither the statistics nor a shell's prompt continue it.
    fn finish(self) -> anyhow::Result<()> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.json && !self.ends_with_newline {
            output::print("\n")?;
        }
        Ok(())
    }
}

fn stop_if(stop: bool) -> ControlFlow<()> {
    if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
