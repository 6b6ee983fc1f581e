//! Enums whose variants have a word of their own: a reason's code, or the name of a state.
//!
//! A word stands once, behind its variant. It is on the wire, in the store and in `--format json`, so it never changes
//! its meaning.

/// Declares an enum, and a function that returns the word of its variant.
macro_rules! worded {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $word:ident {
            $($(#[$about:meta])* $variant:ident $({ $($fields:tt)* })? $(($($content:tt)*))? = $text:literal,)+
        }
    ) => {
        $(#[$meta])*
        pub enum $name {
            $($(#[$about])* $variant $({ $($fields)* })? $(($($content)*))?,)+
        }

        impl $name {
            /// The stable word on the wire, in the store and for programs.
            #[must_use]
            pub fn $word(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $text,)+
                }
            }
        }
    };
}

/// Declares a reason that is stored: JSON that is tagged by its code. One of which only the text is known is kept too.
macro_rules! stored_reason {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$about:meta])* $variant:ident $({ $($fields:tt)* })? = $code:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "code")]
        pub enum $name {
            $($(#[$about])* #[serde(rename = $code)] $variant $({ $($fields)* })?,)+
            #[serde(skip)]
            Recorded(RecordedReason),
        }

        impl StoredReason for $name {
            fn code(&self) -> Option<&str> {
                Some(match self {
                    $(Self::$variant { .. } => $code,)+
                    Self::Recorded(it) => return it.code.as_deref(),
                })
            }
        }

        impl From<RecordedReason> for $name {
            fn from(recorded: RecordedReason) -> Self {
                Self::Recorded(recorded)
            }
        }
    };
}
