//! What the machine decides, as stories.
