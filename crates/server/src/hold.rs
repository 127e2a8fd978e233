//! A request's hold on the model, which stays in memory while there is one.

use std::sync::Arc;

use crate::app::App;
use crate::keep_alive::Stay;

/// A request that keeps the model in memory until it is dropped.
pub(crate) struct Hold(Arc<App>);

impl Hold {
    /// Begins a request, which may say how long the model stays in memory after it.
    pub(crate) fn new(app: &Arc<App>, stay: Option<Stay>) -> Hold {
        app.keep_alive.enter(stay);
        Hold(Arc::clone(app))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.keep_alive.leave();
        if self.0.keep_alive.is_over() {
            self.0.service.unload();
        }
    }
}
