"""How good the transcripts are, measured against references: pure functions from texts to additive counts.

::

    formats      STM, RTTM and entity files ↔ records (fields has what formats share)
    ctm_format   words with their times ↔ records
    nlp_format   the tagged references of Earnings-21 ↔ records
    references   a folder of such files → `Reference` per call
    hypotheses   utterances from records, rows or STM → `HypothesisUtterance`
    normalise    the pinned text normaliser, named in every report
    rates        frozen counts that are added and never averaged
    word_alignment  which words stand against which, for all that count or show them
    wer          word errors of a call
    speakers     cpWER: word errors that also count a wrong speaker
    reach        word errors where words stand for each other only at about the same time
    timed        tcpWER: cpWER with this limit
    orc          ORC-WER: word errors that forgive a wrong speaker (orc_bounds says where they need not be looked for)
    diarization  DER, and the number of speakers
    spoken       number words and spelled-out digits and letters
    values       amounts, and what a value is
    moments      dates and times of day as values
    quantities   plain numbers, percentages and ordinals as values
    phones       telephone numbers with and without the code of a country
    addresses    addresses with and without abbreviations
    streams      the words of a hypothesis laid out for searching
    entities     which names, numbers, amounts and dates came through (entity_search finds them, code_search codes
                 with what runs on from them, entity_classes sorts them into classes)
    spurious     what the hypothesis holds too much (claims finds it)
    entity_alignment  class WER as fstalign (lattice aligns)
    cases, evaluation_set, set_transcripts  evaluation sets, and what the pipeline makes of them
    silence      words where nobody speaks, and speech in which nothing was heard
    trust        whether word probabilities say which words are wrong
    word_times   how far recognised words are from where they were said
    value_words  words in which a number is one word, however it is written
    measure, measures, figures, intervals  every figure with its bounds (word_measures, time_measures,
                 speaker_measures, entity_measures list those)
    bands, slices  groups of calls, in which it is better or worse
    score        all of these for a call and for a set
    report       JSON, terminal table, Markdown

`evaluation` may import `tasks`, never `flows`. Heavy libraries are imported where they are used.
"""
