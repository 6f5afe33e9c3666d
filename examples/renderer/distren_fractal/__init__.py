"""A renderer for DistRen that is a package of its own."""
