"""Pure: languages as OpenAI's transcription API names them (`english`), as ISO 639-1 codes."""

from __future__ import annotations

import re

# The languages of Whisper, by the English names that its authors gave them.
_CODES = {
    name: code
    for code, names in (
        pair.split(" ", 1)
        for pair in """af afrikaans|am amharic|ar arabic|as assamese|az azerbaijani|ba bashkir|be belarusian|
bg bulgarian|bn bengali|bo tibetan|br breton|bs bosnian|ca catalan,valencian|cs czech|cy welsh|da danish|de german|
el greek|en english|es spanish,castilian|et estonian|eu basque|fa persian|fi finnish|fo faroese|fr french|gl galician|
gu gujarati|ha hausa|haw hawaiian|he hebrew|hi hindi|hr croatian|ht haitian creole,haitian|hu hungarian|hy armenian|
id indonesian|is icelandic|it italian|ja japanese|jw javanese|ka georgian|kk kazakh|km khmer|kn kannada|ko korean|
la latin|lb luxembourgish,letzeburgesch|ln lingala|lo lao|lt lithuanian|lv latvian|mg malagasy|mi maori|mk macedonian|
ml malayalam|mn mongolian|mr marathi|ms malay|mt maltese|my myanmar,burmese|ne nepali|nl dutch,flemish|nn nynorsk|
no norwegian|oc occitan|pa punjabi,panjabi|pl polish|ps pashto,pushto|pt portuguese|ro romanian,moldavian,moldovan|
ru russian|sa sanskrit|sd sindhi|si sinhala,sinhalese|sk slovak|sl slovenian|sn shona|so somali|sq albanian|sr serbian|
su sundanese|sv swedish|sw swahili|ta tamil|te telugu|tg tajik|th thai|tk turkmen|tl tagalog|tr turkish|tt tatar|
uk ukrainian|ur urdu|uz uzbek|vi vietnamese|yi yiddish|yo yoruba|yue cantonese|zh chinese,mandarin""".replace(
            "\n", ""
        ).split("|")
    )
    for name in names.split(",")
}


def language_code(name: str | None) -> str | None:
    """The code of a language that is named in English, or by its code; None where it is neither."""
    said = (name or "").strip().lower()
    if re.fullmatch(r"[a-z]{2,3}", said) and said not in _CODES:
        return said
    return _CODES.get(said)
