//! OpenAI's API over HTTP, with a model whose words mean nothing: shapes, streams that say what the whole answer says, and
//! errors that name what is wrong.

mod answers;
mod errors;
mod requests;
mod shapes;
