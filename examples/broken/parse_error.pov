// Part of DistRen. MIT licence. Broken on purpose: line 5 is a parse error, for tests of bad input.
#version 3.7;
global_settings { assumed_gamma 1.0 }
camera { location <0, 1, -4> look_at 0 }
sphere { 0, 1 pigment { rgb Ultramarine } }
light_source { <-4, 6, -4>, rgb 1 }
