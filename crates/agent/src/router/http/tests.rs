//! What the parts of HTTP/1 do with good and with bad input, however it is cut into pieces.

mod bodies;
mod heads;
mod smuggling;
