// Part of DistRen. MIT licence.
//
// A wave runs through a ring of twelve beads over still water. A frame of 160 x 90 takes about a twentieth of a second;
// the clock goes from 0 to 1, and with Cyclic_Animation=On the loop closes.

#version 3.7;
global_settings { assumed_gamma 1.0 max_trace_level 3 }

#include "quick.inc"

camera {
  location <0, 2.2, -8>
  look_at <0, 0.3, 0>
  right x * image_width / image_height
  angle 42
}

light_source { <-6, 9, -4>, rgb <1.0, 0.92, 0.80> }
light_source { <5, 3, 6>, rgb <0.25, 0.35, 0.60> shadowless }

sky_sphere {
  pigment { gradient y color_map { [0 rgb <0.55, 0.20, 0.12>] [0.12 rgb <0.16, 0.07, 0.14>] [0.5 rgb <0.02, 0.02, 0.06>] } }
}

plane {
  y, -0.45
  pigment { rgb <0.004, 0.008, 0.02> }
  finish { ambient 0 diffuse 0.5 reflection 0.6 }
}

#declare I = 0;
#while (I < 12)
  object {
    Bead(Rainbow(I / 12))
    translate <2.1, 0.5 + 0.42 * sin(2 * pi * (I / 6 - clock)), 0>
    rotate 30 * I * y
  }
  #declare I = I + 1;
#end
