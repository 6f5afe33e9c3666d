// Part of DistRen. MIT licence. Broken on purpose: nowhere.inc does not exist, for tests of bad input.
#version 3.7;
global_settings { assumed_gamma 1.0 }
#include "nowhere.inc"
camera { location <0, 1, -4> look_at 0 }
light_source { <-4, 6, -4>, rgb 1 }
sphere { 0, 1 pigment { rgb <1, 0.5, 0.2> } }
