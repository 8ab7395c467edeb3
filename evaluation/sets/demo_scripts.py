"""The conversations of the demo archive, as data.

Everything here is invented: persons, companies, numbers and events. `make_demo.py` gives the lines
voices. Lines are written the way they are to be spoken (digits as words), so that the reference is
the line without its punctuation.
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["agent", "customer"]
Container = Literal["wav", "mp3", "opus", "flac"]
EntityType = Literal[
    "invoice_number",
    "reference_number",
    "amount",
    "date",
    "time",
    "phone",
    "person",
    "organisation",
]


@dataclass(frozen=True)
class Entity:
    """Something a downstream system would want from the call, in its written form."""

    type: EntityType
    text: str


@dataclass(frozen=True)
class Turn:
    """One turn of one speaker.

    `gap_s` counts from the end of everything said before it; negative means overlap, None a natural
    pause chosen by the generator.
    """

    role: Role
    text: str
    entities: tuple[Entity, ...] = ()
    gap_s: float | None = None


@dataclass(frozen=True)
class Speaker:
    """One of Kokoro's voices (`af_` American female to `bm_` British male), its tempo and level."""

    voice: str
    tempo: float
    level_dbfs: float


@dataclass(frozen=True)
class Call:
    """A conversation, and the recording it becomes: of two channels, the agent has the first."""

    call_id: str
    day: int
    container: Container
    channels: Literal[1, 2]
    agent: Speaker
    customer: Speaker
    turns: tuple[Turn, ...]
    snr_db: float | None = None


def agent(text: str, *entities: Entity, gap_s: float | None = None) -> Turn:
    """Make a turn of the agent."""
    return Turn("agent", text, entities, gap_s)


def customer(text: str, *entities: Entity, gap_s: float | None = None) -> Turn:
    """Make a turn of the customer."""
    return Turn("customer", text, entities, gap_s)


BILLING = Call(
    call_id="demo-0001",
    day=5,
    container="wav",
    channels=1,
    agent=Speaker("af_heart", tempo=1.0, level_dbfs=-23),
    customer=Speaker("am_michael", tempo=1.08, level_dbfs=-27),
    turns=(
        agent(
            "Thank you for calling Larkfield Energy, my name is Laura. How can I help you?",
            Entity("organisation", "Larkfield Energy"),
            Entity("person", "Laura"),
        ),
        customer(
            "Hi Laura, this is Daniel Brooks. I have a question about my last invoice.",
            Entity("person", "Laura"),
            Entity("person", "Daniel Brooks"),
        ),
        agent(
            "Of course, Mister Brooks. Could you read me the invoice number, please?",
            Entity("person", "Brooks"),
        ),
        customer(
            "Yes, it is four four seven one, nine zero two five.",
            Entity("invoice_number", "4471-9025"),
        ),
        agent(
            "Four four seven one, nine zero two five. Thank you. "
            "I see an amount of one hundred forty two dollars and fifty cents.",
            Entity("invoice_number", "4471-9025"),
            Entity("amount", "$142.50"),
        ),
        customer(
            "That seems too high. Last month I paid ninety eight dollars.",
            Entity("amount", "$98"),
        ),
        agent(
            "The invoice includes the yearly service fee. It is due on October nineteenth.",
            Entity("date", "October 19"),
        ),
        customer(
            "Oh, I see. October nineteenth. Then I will pay it next week. Thank you.",
            Entity("date", "October 19"),
        ),
        agent("You are welcome, Mister Brooks. Have a good day.", Entity("person", "Brooks")),
    ),
)

RETURN = Call(
    call_id="demo-0002",
    day=6,
    container="wav",
    channels=2,
    agent=Speaker("am_fenrir", tempo=1.02, level_dbfs=-22),
    customer=Speaker("af_bella", tempo=1.05, level_dbfs=-28),
    turns=(
        agent(
            "Tillerman Outdoor, customer service, Peter speaking. What can I do for you?",
            Entity("organisation", "Tillerman Outdoor"),
            Entity("person", "Peter"),
        ),
        customer(
            "Hello, I would like to return a jacket. My order number is eight two zero, six one seven three.",
            Entity("reference_number", "820-6173"),
        ),
        agent("Sure. Could I have your name, please?"),
        customer(
            "It is Maria Jensen. The jacket is too small for me, and I thought that",
            Entity("person", "Maria Jensen"),
        ),
        agent("That is no problem at all. Did you pay by card?", gap_s=-0.6),
        customer(
            "Yes, by card. It was eighty nine dollars and ninety five cents.",
            Entity("amount", "$89.95"),
            gap_s=-0.3,
        ),
        agent(
            "Thank you. I will refund eighty nine dollars and ninety five cents to your card. "
            "Is there a phone number where we can reach you?",
            Entity("amount", "$89.95"),
        ),
        customer("Yes, five five five, zero one four two.", Entity("phone", "555-0142")),
        agent(
            "Five five five, zero one four two. You will get the return label by email today.",
            Entity("phone", "555-0142"),
        ),
        customer("Great, thank you so much for your help. Bye.", gap_s=-0.5),
        agent("Thank you. Goodbye."),
    ),
)

APPOINTMENT = Call(
    call_id="demo-0003",
    day=6,
    container="mp3",
    channels=1,
    agent=Speaker("af_sarah", tempo=1.05, level_dbfs=-22),
    customer=Speaker("am_puck", tempo=1.0, level_dbfs=-26),
    turns=(
        agent(
            "Good morning, Maple Hill Dental, this is Susan. How may I help you?",
            Entity("organisation", "Maple Hill Dental"),
            Entity("person", "Susan"),
        ),
        customer(
            "Good morning. My name is Kevin Osterberg. I need to move my appointment.",
            Entity("person", "Kevin Osterberg"),
        ),
        agent("When is your appointment, Mister Osterberg?", Entity("person", "Osterberg")),
        customer(
            "It is on Thursday, October fifteenth, at three thirty p.m.",
            Entity("date", "October 15"),
            Entity("time", "3:30 pm"),
        ),
        agent(
            "I can offer you Tuesday, October twentieth, at nine fifteen a.m.",
            Entity("date", "October 20"),
            Entity("time", "9:15 am"),
        ),
        customer("Tuesday is fine, but could it be a little later?"),
        agent("Yes, ten forty five a.m. is also free.", Entity("time", "10:45 am")),
        customer("Perfect, I will take that one."),
        agent("May I have a phone number, in case something changes?"),
        customer("Of course. It is five five five, zero one eight seven.", Entity("phone", "555-0187")),
        agent(
            "Thank you. See you on October twentieth at ten forty five a.m.",
            Entity("date", "October 20"),
            Entity("time", "10:45 am"),
        ),
    ),
)

TRANSFER = Call(
    call_id="demo-0004",
    day=8,
    container="opus",
    channels=2,
    agent=Speaker("bm_george", tempo=1.1, level_dbfs=-24),
    customer=Speaker("af_nova", tempo=0.98, level_dbfs=-25),
    turns=(
        agent(
            "Quarry Hill Bank, good afternoon. You are speaking with Martin.",
            Entity("organisation", "Quarry Hill Bank"),
            Entity("person", "Martin"),
        ),
        customer("Hi, I want to make a transfer from my savings account to my checking account."),
        agent("Certainly. Could you tell me your full name, and the reference number on your letter?"),
        customer(
            "My name is Angela Whitmore, and the reference is seven seven zero four, three one.",
            Entity("person", "Angela Whitmore"),
            Entity("reference_number", "7704-31"),
        ),
        agent(
            "Thank you, Miss Whitmore. How much would you like to transfer?",
            Entity("person", "Whitmore"),
        ),
        customer(
            "Two thousand five hundred dollars, please. And I would like it to arrive by October sixteenth.",
            Entity("amount", "$2,500"),
            Entity("date", "October 16"),
        ),
        agent("Okay.", gap_s=-2.6),
        agent(
            "The fee for an express transfer is four dollars and seventy five cents, "
            "or it is free if you can wait until the",
            Entity("amount", "$4.75"),
        ),
        customer("I can wait. That is no problem.", gap_s=-0.7),
        agent(
            "Very good. Then two thousand five hundred dollars will arrive on October sixteenth.",
            Entity("amount", "$2,500"),
            Entity("date", "October 16"),
        ),
        customer("Wonderful. Thank you, Martin. Goodbye.", Entity("person", "Martin"), gap_s=-0.3),
    ),
)

CLAIM = Call(
    call_id="demo-0005",
    day=13,
    container="flac",
    channels=1,
    agent=Speaker("bf_emma", tempo=1.0, level_dbfs=-24),
    customer=Speaker("am_eric", tempo=0.95, level_dbfs=-25),
    snr_db=12.0,
    turns=(
        agent(
            "Greywick Insurance, claims department, Helen speaking.",
            Entity("organisation", "Greywick Insurance"),
            Entity("person", "Helen"),
        ),
        customer(
            "Hello, this is Robert Castellano. Sorry, I am calling from a busy cafe.",
            Entity("person", "Robert Castellano"),
        ),
        agent("That is all right. Do you have your claim number?"),
        customer(
            "Yes. It is six zero three, eight eight one four.",
            Entity("reference_number", "603-8814"),
        ),
        agent("And when did the accident happen?"),
        customer(
            "On Friday, October second, in the evening. Another driver, Thomas Reed, hit my parked car.",
            Entity("date", "October 2"),
            Entity("person", "Thomas Reed"),
        ),
        agent("I am sorry to hear that. Has a garage looked at it?"),
        customer(
            "Yes, they say the repair costs one thousand two hundred eighty dollars.",
            Entity("amount", "$1,280"),
        ),
        agent(
            "Please send us the estimate before October twenty third. "
            "I will add it to claim six zero three, eight eight one four.",
            Entity("date", "October 23"),
            Entity("reference_number", "603-8814"),
        ),
        customer("I will do that today. Thank you, Helen.", Entity("person", "Helen")),
    ),
)

HOLD = Call(
    call_id="demo-0008",
    day=14,
    container="flac",
    channels=2,
    agent=Speaker("am_echo", tempo=1.04, level_dbfs=-23),
    customer=Speaker("af_aoede", tempo=1.04, level_dbfs=-27),
    turns=(
        agent(
            "Bluefinch Travel, this is Oliver. How can I help?",
            Entity("organisation", "Bluefinch Travel"),
            Entity("person", "Oliver"),
        ),
        customer(
            "Hello, this is Priya Raman. I am calling about my booking, reference nine one five, two two six zero.",
            Entity("person", "Priya Raman"),
            Entity("reference_number", "915-2260"),
        ),
        agent("One moment, please, I will look it up. I have to put you on hold."),
        agent(
            "Thank you for waiting, Miss Raman. I found your trip to Denver on November third.",
            Entity("person", "Raman"),
            Entity("date", "November 3"),
            gap_s=7.0,
        ),
        customer(
            "Yes, but the hotel sent me a bill for three hundred and ten dollars, and I have already",
            Entity("amount", "$310"),
        ),
        agent(
            "Sorry, that should not happen. You have already paid us six hundred forty dollars and twenty cents.",
            Entity("amount", "$640.20"),
            gap_s=-0.8,
        ),
        customer("Exactly. So what should I do?", gap_s=-0.4),
        agent(
            "Nothing. I will call the Garden Court Hotel myself. May I have your phone number?",
            Entity("organisation", "Garden Court Hotel"),
        ),
        customer(
            "It is five five five, zero one six three. Please call me before four p.m.",
            Entity("phone", "555-0163"),
            Entity("time", "4 pm"),
            gap_s=2.5,
        ),
        agent("All right. I will call you today.", gap_s=4.0),
        customer("Thank you, Oliver. Bye.", Entity("person", "Oliver"), gap_s=-0.3),
        agent("Goodbye."),
    ),
)

CALLS = (BILLING, RETURN, APPOINTMENT, TRANSFER, CLAIM, HOLD)
