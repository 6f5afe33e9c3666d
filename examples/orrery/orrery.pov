// Part of DistRen. MIT licence.
//
// An orrery for a sky that never was: one Mercury, two Venuses, three Earths, four Saturns. An orbit with n planets
// advances by 1/n of a turn while the clock goes from 0 to 1, so each planet ends where the next one began, and the
// loop closes without a jump. Render it with Cyclic_Animation=On (see orrery.ini).

#version 3.7;
global_settings { assumed_gamma 1.0 max_trace_level 2 adc_bailout 0.06 }

#include "parts/materials.inc"
#include "parts/clockwork.inc"
#include "parts/planets.inc"

#declare Eye = <0, 5.0, -14.6>;
#declare Height = 2.55;               // of the sun above the dial
#declare Sun_Place = Height * y;
#declare Loop = -360 * clock;         // counterclockwise, seen from the north

#include "parts/stage.inc"

camera {
  location Eye
  look_at <0, 0.95, 0>
  right x * image_width / image_height
  angle 50
}

// The base: walnut, a brass rim, the star map.
union {
  cylinder { -0.95 * y, -0.62 * y, 6.75 texture { Dark_Bronze } }
  cylinder { -0.62 * y, -0.02 * y, 6.45 texture { Walnut } interior { ior 1.5 } }
  torus { 6.45, 0.12 translate -0.60 * y texture { Brass } no_shadow }
  torus { 6.40, 0.11 translate -0.02 * y texture { Polished_Brass } no_shadow }
  disc { 0, y, 6.4 Star_Map(6.4) interior { ior 1.5 } }
}

// The column, and the train that drives it.
union {
  object { Collar(0.95, 0.0, 0.22) }
  object { Collar(0.30, 0.2, 1.75) }
  cylinder { 0, Sun_Place - 0.6 * y, 0.09 }
  texture { Brass }
}
object { Gear(36, 1.5, 0.12, 8) texture { Brass } rotate Loop / 4 * y translate 0.30 * y }
object {
  Gear(12, 0.5, 0.12, 4) texture { Polished_Brass }
  rotate (-Loop * 3 / 4 + 180 / 12) * y translate <2.0, 0.30, 0> rotate 60 * y
}
object { Collar(0.12, 0, 0.5) texture { Brass } translate 2.0 * x rotate 60 * y }

object { Sun(0.78, Loop / 12) translate Sun_Place }

// Lays Count copies of Thing around the column, turned by a part of the loop.
#macro Ring_Of(Thing, Count, Start)
  #local I = 0;
  #while (I < Count)
    object { Thing rotate (Start + (Loop + 360 * I) / Count) * y }
    #local I = I + 1;
  #end
#end

// The same, for what keeps its attitude while it is carried around.
#macro Carried(Thing, Reach, Count, Start)
  #local I = 0;
  #while (I < Count)
    object { Thing translate vrotate(<Reach, Height, 0>, (Start + (Loop + 360 * I) / Count) * y) }
    #local I = I + 1;
  #end
#end

#declare Mercury_Arm = object { Arm(1.75, 1.62, Height, 0.2) texture { Polished_Brass } }
#declare Venus_Arm = object { Arm(2.75, 1.3, Height, 0.36) texture { Polished_Brass } }
#declare Earth_Arm = object { Arm(4.05, 0.95, Height, 0.46) texture { Polished_Brass } }
#declare Saturn_Arm = object { Arm(5.55, 0.62, Height, 0.5) texture { Polished_Brass } }

light_group {
  Ring_Of(Mercury_Arm, 1, 20)
  Ring_Of(Venus_Arm, 2, 65)
  Ring_Of(Earth_Arm, 3, 10)
  Ring_Of(Saturn_Arm, 4, 38)

  Carried(object { Mercury(0.2) }, 1.75, 1, 20)
  Carried(object { Venus(0.36, Loop) }, 2.75, 2, 65)
  Carried(object { Earth(0.46, Loop) }, 4.05, 3, 10)
  Carried(object { Moon(0.13) translate <0.8, 0.12, 0> rotate Loop * y }, 4.05, 3, 10)
  Carried(object { Saturn(0.5) }, 5.55, 4, 38)
  light_source { Moonlight }
  global_lights on
}
