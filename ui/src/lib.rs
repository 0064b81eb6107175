//! The design language: tokens, components, icons, fonts, motion.
