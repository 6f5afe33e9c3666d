// Part of DistRen. MIT licence.
//
// The scene of the efficiency benchmark: glass balls come down over a spiral of brass ones while the clock goes from 0 to 1,
// so that its frames differ in cost, from about half a second to two seconds of processor time at 320 x 240 with one
// thread and antialiasing at 0.1. Nothing in it is random: no jitter, no radiosity, no photons.

#version 3.7;
global_settings { assumed_gamma 1.0 max_trace_level 5 }

camera {
  location <0, 3.6, -7.2>
  look_at <0, 0.35, 0>
  right x * image_width / image_height
  angle 46
}

light_source {
  <-7, 10, -6>, rgb <1.0, 0.92, 0.80> * 1.1
  area_light 3 * x, 3 * z, 5, 5 adaptive 0
}
light_source { <8, 4, 5>, rgb <0.20, 0.30, 0.55> shadowless }

sky_sphere {
  pigment { gradient y color_map { [0 rgb <0.45, 0.30, 0.24>] [0.3 rgb <0.10, 0.12, 0.22>] [1 rgb <0.02, 0.03, 0.08>] } }
}

plane {
  y, 0
  pigment { rgb <0.10, 0.12, 0.16> }
  finish { ambient 0 diffuse 0.7 reflection { 0.08, 0.4 } }
}

#declare Glass = material {
  texture {
    pigment { rgbf <0.90, 0.97, 0.95, 0.96> }
    finish { ambient 0 diffuse 0.05 specular 0.9 roughness 0.003 reflection { 0.03, 1.0 fresnel } conserve_energy }
  }
  interior { ior 1.5 }
}

#declare Brass = texture {
  pigment { rgb <0.70, 0.46, 0.18> }
  finish { ambient 0 diffuse 0.4 specular 0.8 roughness 0.02 metallic reflection { 0.3, 0.6 metallic } }
}

// A spiral of brass, by the golden angle.
#declare I = 0;
#while (I < 60)
  #declare Radius = 0.42 * sqrt(I + 0.5);
  sphere {
    <Radius, 0.16, 0>, 0.16
    texture { Brass }
    rotate (137.5078 * I + 40 * clock) * y
  }
  #declare I = I + 1;
#end

// A crown of glass that comes down and closes.
#declare I = 0;
#while (I < 6)
  sphere {
    <3.0 - 1.2 * clock, 2.4 - 1.5 * clock + 0.25 * sin(2 * pi * (I / 3 + clock)), 0>, 0.42 + 0.12 * clock
    material { Glass }
    rotate (60 * I - 60 * clock) * y
  }
  #declare I = I + 1;
#end
