//! Empty on purpose: gives cargo a library to track, so that the agent is rebuilt when this package changes.
#![no_std]
