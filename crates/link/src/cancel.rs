//! Why nobody wants a response any more: the `aux` of a Cancel frame. Its payload names the request, for the log.

/// What a Cancel frame asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Cancel {
    /// What is sent is thrown away; the handler may run to its end.
    Unwanted = 0,
    /// The client has gone: the handler is to be interrupted.
    ClientGone = 1,
    /// The request's time is up: the handler is to be interrupted.
    TimeUp = 2,
}

impl Cancel {
    /// Reads the `aux` of a Cancel frame.
    pub fn from_aux(aux: u16) -> Self {
        match aux {
            1 => Self::ClientGone,
            2 => Self::TimeUp,
            _ => Self::Unwanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_survive_the_link() {
        for reason in [Cancel::Unwanted, Cancel::ClientGone, Cancel::TimeUp] {
            assert_eq!(Cancel::from_aux(reason as u16), reason);
        }
        assert_eq!(Cancel::from_aux(77), Cancel::Unwanted);
    }
}
