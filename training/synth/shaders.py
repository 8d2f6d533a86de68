# SPDX-License-Identifier: GPL-3.0-or-later
"""GLSL of the head renderer: one forward pass with materials, a shadow map, a backdrop, and the motion pass."""

# Materials, in the fragment shader's `material`.
SKIN, CLOTH, STRANDS, EYE, CORNEA, MOUTH, HEADGEAR, FRAME, LENS = range(9)

# How far a point of the resting head lies under a hat (1) or in a hood (2); negative where it shows.
_GEAR = """
uniform vec4 gear; uniform float gear_depth;
float gear_cover(vec3 q) {
    float opening = length(vec2(q.x / gear.z, (q.y - gear.y) / gear.w)) - 1.0;
    if (gear.x > 1.5) return max(opening, 4.0 * (gear_depth - 0.95 - q.z));
    return gear.x > 0.5 ? q.y - gear.y - gear.z * (q.z - gear_depth) : -1.0;
}
bool hidden(vec3 q, float part) {                // parts: 1 the headgear, 2 hair, 3 skin
    float cover = gear_cover(q);
    return part == 1.0 && (cover < 0.0 || gear.x > 1.5 && q.y < gear.y - 1.5)
        || part == 2.0 && cover > 0.0 || part == 3.0 && cover > 0.08 && q.y > gear.y - 0.7 * gear.w;
}
"""

SURFACE_VERTEX = """
#version 330
in vec3 position; in vec3 normal; in vec2 uv; in float occlusion; in vec3 rest; in vec4 paint; in vec3 paint_more;
uniform mat4 view_projection; uniform mat4 shadow_matrix; uniform float depth_bias;
uniform vec3 beard; uniform float scalp;
out vec4 painted;                               // beard, lips, lids, cheeks
out float shaved;
out vec3 world; out vec3 world_normal; out vec2 texcoord; out float baked; out vec4 shadow_coord;
out vec3 rest_position;
void main() {
    world = position; world_normal = normal; texcoord = uv; baked = occlusion; rest_position = rest;
    painted = vec4(max(max(paint.x * beard.x, paint.y * beard.y), paint.z * beard.z), paint.w, paint_more.xy);
    shaved = paint_more.z * scalp;
    shadow_coord = shadow_matrix * vec4(position + normal * 0.03, 1.0);
    gl_Position = view_projection * vec4(position, 1.0);
    gl_Position.z -= depth_bias * gl_Position.w;
}
"""

SURFACE_FRAGMENT = (
    """
#version 330
"""
    + _GEAR
    + """
in vec3 world; in vec3 world_normal; in vec2 texcoord; in float baked; in vec4 shadow_coord; in vec3 rest_position;
in vec4 painted; in float shaved;
out vec4 colour;
uniform vec3 beard_colour, scalp_colour; uniform vec4 lip_paint, lid_paint; uniform float blush;
uniform vec3 complexion; uniform float density;
uniform sampler2D albedo_map; uniform sampler2DShadow shadow_map; uniform float shadow_on;
uniform int material; uniform vec3 eye_place;
uniform vec3 tint, skin_colour; uniform float variation; uniform float contrast; uniform float gain;
uniform float shine; uniform float gloss; uniform float darkening;
uniform vec2 alpha_range;                       // fragments outside [x, y) are dropped
uniform vec3 key_direction, key_colour, fill_direction, fill_colour;
uniform vec3 ambient; uniform mat3 ambient_slope; uniform float exposure;
uniform vec3 neckline; uniform vec3 stripes; uniform float fringe;

float hash(vec2 q) { return fract(sin(dot(q, vec2(12.9898, 78.233))) * 43758.5453); }

float cloud(vec2 q) {                            // value noise, 0 to 1
    vec2 cell = floor(q), t = smoothstep(0.0, 1.0, q - cell);
    return mix(mix(hash(cell), hash(cell + vec2(1, 0)), t.x),
               mix(hash(cell + vec2(0, 1)), hash(cell + vec2(1, 1)), t.x), t.y);
}

void main() {
    vec4 texel = texture(albedo_map, texcoord);
    vec3 n = normalize(world_normal);
    vec3 view = normalize(eye_place - world);
    vec3 albedo = pow(texel.rgb, vec3(2.2));
    vec3 wrap = vec3(0.0);
    float alpha = 1.0, occlusion = baked, direct = 1.0, matte = 1.0, shade = 1.0;
    if (!gl_FrontFacing && material != 0) n = -n;

    if (material == 0) {                        // skin: red light bleeds past the terminator
        if (hidden(rest_position, 3.0)) discard;
        vec3 varied = albedo * tint / skin_colour;
        albedo = skin_colour * mix(vec3(dot(varied, vec3(0.3, 0.5, 0.2))), varied, variation);
        // Paint stays on the skin: its noise is laid out on the resting body.
        vec2 place = rest_position.xy + vec2(0.37, 0.11) * rest_position.z;
        float blotch = 1.4 * cloud(place * 7.0) - 0.7;
        albedo *= 1.0 + complexion.x * blotch * vec3(0.6, 1.2, 1.2);
        if (complexion.y > 0.0) {
            float speck = smoothstep(0.68, 0.9, cloud(place * 70.0)) * smoothstep(0.0, 0.7, painted.w + 0.3 * blotch);
            albedo *= 1.0 - complexion.y * speck * vec3(0.55, 0.8, 0.9);
        }
        albedo *= mix(vec3(1.0), vec3(1.05, 0.72, 0.72), blush * painted.w);
        albedo = mix(albedo, lid_paint.rgb, lid_paint.a * painted.z);
        albedo = mix(albedo, lip_paint.rgb, lip_paint.a * painted.y);
        matte = 1.0 + 0.6 * painted.y;
        if (painted.x + shaved > 0.01) {
            float fine = hash(floor(place * vec2(190.0, 90.0)));
            float strand = 0.7 + 0.6 * mix(fine, cloud(place * vec2(60.0, 22.0)), 0.6);
            float patchy = 0.12 * (1.0 - painted.x) * blotch;
            float hairy = clamp(painted.x * (0.1 + 0.9 * strand) - patchy, 0.0, 1.0);
            albedo = mix(albedo, beard_colour * strand, hairy);
            float stubble = clamp(shaved * (0.4 + 0.6 * strand) + 0.25 * shaved * blotch, 0.0, 1.0);
            albedo = mix(albedo, scalp_colour * strand, stubble);
            matte -= 0.75 * max(hairy, stubble);
        }
        vec2 pore = floor(place * 90.0);
        n = normalize(n + complexion.z * vec3(hash(pore) - 0.5, hash(pore + 7.0) - 0.5, 0.0));
        wrap = vec3(0.35, 0.2, 0.15);
    } else if (material == 1) {                 // cloth, cut at the neckline
        float collar = neckline.x - neckline.y * exp(-rest_position.x * rest_position.x * neckline.z)
            * step(0.0, rest_position.z);
        if (rest_position.y > collar) discard;
        float stripe = step(0.5, fract(rest_position.y * 3.0 + stripes.x * rest_position.x));
        albedo = mix(tint, tint * stripes.y, stripe * stripes.z);
        albedo *= 0.9 + 0.2 * hash(floor(rest_position.xy * 40.0));
    } else if (material == 2) {                 // hair, brows, lashes
        alpha = min(texel.a * density, 1.0);
        if (alpha < alpha_range.x || alpha >= alpha_range.y || gear_cover(rest_position) > 0.0) discard;
        float ragged = hash(floor(rest_position.xx * 65.0));
        if (fringe > 0.0 && rest_position.z > 0.75 && abs(rest_position.x) < 0.66 + 0.06 * ragged
            && rest_position.y < fringe + rest_position.x * rest_position.x * 0.25 + 0.10 * ragged) discard;
        if (dot(n, view) < 0.0) n = normalize(n - dot(n, view) * view);
        float light = dot(albedo, vec3(0.3, 0.5, 0.2)) * gain;
        albedo = tint * (1.0 - contrast + contrast * light);
        wrap = vec3(0.4);
    } else if (material == 3) {                 // eyeball: the opaque part of the texture
        if (texel.a < 0.5) discard;
        occlusion *= 0.6; direct = 0.72;
    } else if (material == 4) {                 // cornea: the rest of it, added as reflection
        if (texel.a >= 0.5) discard;
        albedo = vec3(0.0);
    } else if (material == 6) {                 // hats and hoods
        if (hidden(rest_position, 1.0)) discard;
        float band = step(0.5, fract(rest_position.y * 4.0 + stripes.x * rest_position.x));
        albedo = mix(tint, tint * stripes.y, band * stripes.z);
        albedo *= 0.85 + 0.3 * cloud(world.xy * 9.0) * hash(floor(rest_position.xy * 60.0));
        occlusion = 0.9;
    } else if (material == 7) {                 // frames
        albedo = tint;
    } else if (material == 8) {                 // lenses
        albedo = tint;
        alpha = clamp(density + 0.5 * pow(1.0 - abs(dot(n, view)), 3.0), 0.0, 1.0);
    } else {                                    // teeth and tongue, in the mouth's shade
        albedo *= tint;
        occlusion *= 0.75 * darkening; direct = 0.85 * darkening; shade = 0.5;
    }

    float lit = 1.0;
    if (shadow_on > 0.5) {
        vec3 s = shadow_coord.xyz * 0.5 + 0.5;
        lit = 0.0;
        for (int i = 0; i < 4; ++i)
            lit += 0.25 * texture(shadow_map, vec3(s.xy + (vec2(i & 1, i >> 1) - 0.5) * 0.0035, s.z - 0.002));
        lit = mix(1.0, lit, shade);
    }
    vec3 key = clamp((dot(n, key_direction) + wrap) / (1.0 + wrap), 0.0, 1.0) * lit;
    vec3 fill = clamp((dot(n, fill_direction) + wrap) / (1.0 + wrap), 0.0, 1.0);
    vec3 sky = max(ambient + ambient_slope * n, vec3(0.02));
    vec3 sum = albedo * (sky * occlusion
        + (key * key_colour + fill * fill_colour * occlusion) * mix(1.0, occlusion, 0.35) * direct);

    float fresnel = 0.04 + 0.96 * pow(1.0 - clamp(dot(n, view), 0.0, 1.0), 5.0);
    if (material == 4) fresnel *= 0.3;
    float tight = pow(max(dot(n, normalize(key_direction + view)), 0.0), gloss) * lit;
    float broad = pow(max(dot(n, normalize(key_direction + view)), 0.0), gloss * 0.25) * lit;
    float other = pow(max(dot(n, normalize(fill_direction + view)), 0.0), gloss);
    sum += matte * (shine * (tight + 0.35 * broad) * key_colour + shine * other * fill_colour
        + fresnel * sky * 0.25 * min(shine * 4.0, 1.0)) * occlusion;
    sum = 1.0 - exp(-sum * exposure);
    colour = vec4(pow(sum, vec3(1.0 / 2.2)), alpha);
}
"""
)

BACKDROP_VERTEX = """
#version 330
in vec2 corner; out vec2 texcoord;
void main() { texcoord = corner * 0.5 + 0.5; gl_Position = vec4(corner, 0.9999, 1.0); }
"""

# The backdrop writes no coverage: what the head covers is then the picture's alpha.
BACKDROP_FRAGMENT = """
#version 330
in vec2 texcoord; out vec4 colour; uniform sampler2D backdrop;
void main() { colour = vec4(texture(backdrop, texcoord).rgb, 0.0); }
"""

SHADOW_VERTEX = """
#version 330
in vec3 position; in vec2 uv; in vec3 rest; uniform mat4 shadow_matrix; out vec2 texcoord; out vec3 rest_position;
void main() { texcoord = uv; rest_position = rest; gl_Position = shadow_matrix * vec4(position, 1.0); }
"""

SHADOW_FRAGMENT = (
    """
#version 330
"""
    + _GEAR
    + """
in vec2 texcoord; in vec3 rest_position; uniform sampler2D albedo_map; uniform float alpha_minimum; uniform float part;
void main() {
    if (hidden(rest_position, part)) discard;
    if (alpha_minimum > 0.0 && texture(albedo_map, texcoord).a < alpha_minimum) discard;
}
"""
)

# Where each visible surface point was in another frame: (x, y, depth) in that frame's NDC, and the layer.
MOTION_VERTEX = """
#version 330
in vec3 position; in vec3 source; in vec2 uv; in vec3 rest;
uniform mat4 view_projection; uniform mat4 source_projection;
out vec4 source_clip; out vec2 texcoord; out vec3 rest_position;
void main() {
    source_clip = source_projection * vec4(source, 1.0); texcoord = uv; rest_position = rest;
    gl_Position = view_projection * vec4(position, 1.0);
}
"""

MOTION_FRAGMENT = (
    """
#version 330
"""
    + _GEAR
    + """
in vec4 source_clip; in vec2 texcoord; in vec3 rest_position; out vec4 motion;
uniform sampler2D albedo_map; uniform float alpha_minimum; uniform float layer;
uniform vec3 neckline; uniform float fringe; uniform float part;
float hash(vec2 q) { return fract(sin(dot(q, vec2(12.9898, 78.233))) * 43758.5453); }
void main() {
    if (hidden(rest_position, part)) discard;
    if (layer == 2.0 && rest_position.y > neckline.x - neckline.y
        * exp(-rest_position.x * rest_position.x * neckline.z) * step(0.0, rest_position.z)) discard;
    if (alpha_minimum > 0.0 && texture(albedo_map, texcoord).a < alpha_minimum) discard;
    float ragged = hash(floor(rest_position.xx * 65.0));
    if (layer == 6.0 && part == 2.0 && fringe > 0.0 && rest_position.z > 0.75
        && abs(rest_position.x) < 0.66 + 0.06 * ragged
        && rest_position.y < fringe + rest_position.x * rest_position.x * 0.25 + 0.10 * ragged) discard;
    motion = vec4(source_clip.xyz / source_clip.w, layer);
}
"""
)
