//! Nothing but tests: our decoder of UPDATEs is held against three others (`tests/`). They stand
//! in a package of their own so that only these tests wait for what they bring along.
